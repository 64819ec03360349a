-- Who gets an item among the first ten?
-- One row per user whose list has :item_id at rank 10 or better.
with lists as (select * from recommendations where item_id = :item_id and rank <= 10),
histories as (select user_id, n_ratings from users)
select lists.user_id, lists.rank, lists.score, lists.predicted_rating, histories.n_ratings
from lists
join histories on histories.user_id = lists.user_id
order by lists.rank, lists.score desc, lists.user_id
limit 1000
