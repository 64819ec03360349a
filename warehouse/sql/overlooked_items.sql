-- Which well-rated items does nobody get?
-- One row per item with twenty ratings or more that is in no list, the best mean rating first.
with recommended as (select distinct item_id from recommendations),
known as (select item_id, title, n_ratings, mean_rating from items where n_ratings >= 20)
select known.item_id, known.title, known.mean_rating, known.n_ratings
from known
left join recommended on recommended.item_id = known.item_id
where recommended.item_id is null
order by known.mean_rating desc, known.n_ratings desc, known.item_id
limit 50
