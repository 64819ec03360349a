-- What does a user get?
-- One row per list position of :user_id, with the title and the rating that the model expects.
with lists as (select * from recommendations where user_id = :user_id),
titles as (select item_id, title, genres from items)
select lists.rank, lists.item_id, titles.title, titles.genres, lists.score, lists.predicted_rating, lists.confidence, lists.source
from lists
join titles on titles.item_id = lists.item_id
order by lists.rank
