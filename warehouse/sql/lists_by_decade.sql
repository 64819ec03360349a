-- From which years are the lists?
-- One row per decade of the items: its share of the items, of the interactions and of the places in lists, in per cent of those with a year.
with counted as (
  select items.year - items.year % 10 as decade, items.n_ratings, coalesce(item_lists.n_lists, 0) as n_lists
  from items
  left join item_lists on item_lists.item_id = items.item_id
  where items.year is not null
),
by_decade as (select decade, count(*) as n_items, sum(n_ratings) as n_ratings, sum(n_lists) as n_lists from counted group by decade),
totals as (select sum(n_items) as n_items, nullif(sum(n_ratings), 0) as n_ratings, nullif(sum(n_lists), 0) as n_lists from by_decade)
select by_decade.decade, by_decade.n_items * 100e0 / totals.n_items as percent_of_items,
  by_decade.n_ratings * 100e0 / totals.n_ratings as percent_of_interactions, by_decade.n_lists * 100e0 / totals.n_lists as percent_of_places
from by_decade
cross join totals
order by by_decade.decade
