-- Which items fill the most lists?
-- One row per item that is in somebody's top ten, with its share of all users, the fifty most frequent first.
with heads as (select item_id, count(*) as n_lists from recommendations where rank <= 10 group by item_id),
everybody as (select count(*) as n_users from users),
titles as (select item_id, title, n_ratings from items)
select heads.item_id, titles.title, titles.n_ratings, heads.n_lists, heads.n_lists * 1e0 / everybody.n_users as share_of_users
from heads
join titles on titles.item_id = heads.item_id
cross join everybody
order by heads.n_lists desc, heads.item_id
limit 50
