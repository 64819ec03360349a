-- How long is the tail?
-- One row per hundredth of the items, from the rarest on: the share of the items so far, and of the interactions, the places in lists and in first tens that they have.
with counted as (
  select items.n_ratings, coalesce(item_lists.n_lists, 0) as n_lists, coalesce(item_lists.n_first_tens, 0) as n_first_tens
  from items
  left join item_lists on item_lists.item_id = items.item_id
),
cut as (
  select n_ratings, n_lists, n_first_tens, ntile(100) over (order by n_ratings) as by_ratings,
    ntile(100) over (order by n_lists) as by_lists, ntile(100) over (order by n_first_tens) as by_first_tens
  from counted
),
had as (select by_ratings as part, count(*) as n_items, sum(n_ratings) as n from cut group by by_ratings),
listed as (select by_lists as part, sum(n_lists) as n from cut group by by_lists),
shown as (select by_first_tens as part, sum(n_first_tens) as n from cut group by by_first_tens),
totals as (
  select count(*) as n_items, nullif(sum(n_ratings), 0) as n_ratings, nullif(sum(n_lists), 0) as n_lists, nullif(sum(n_first_tens), 0) as n_first_tens
  from counted
)
select had.part, sum(had.n_items) over (order by had.part) * 100e0 / totals.n_items as percent_of_items,
  sum(had.n) over (order by had.part) * 100e0 / totals.n_ratings as percent_of_interactions,
  sum(listed.n) over (order by had.part) * 100e0 / totals.n_lists as percent_of_places,
  sum(shown.n) over (order by had.part) * 100e0 / totals.n_first_tens as percent_of_first_tens
from had
join listed on listed.part = had.part
join shown on shown.part = had.part
cross join totals
order by had.part
