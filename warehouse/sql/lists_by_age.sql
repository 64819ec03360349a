-- How old is what is recommended?
-- One row per span of years before the last interaction: its share of the items, of the interactions and of the places in lists, in per cent of those with a year.
with newest as (select cast(substr(max(month), 1, 4) as integer) as year from rating_months),
aged as (
  select newest.year - items.year as age, items.n_ratings, coalesce(item_lists.n_lists, 0) as n_lists
  from items
  left join item_lists on item_lists.item_id = items.item_id
  cross join newest
  where items.year is not null and newest.year is not null
),
spans as (
  select case when age <= 0 then 'this year' when age <= 2 then '1 to 2' when age <= 5 then '3 to 5' when age <= 10 then '6 to 10'
    when age <= 20 then '11 to 20' when age <= 40 then '21 to 40' else 'over 40' end as years_old, age, n_ratings, n_lists
  from aged
),
by_span as (
  select years_old, min(age) as youngest, count(*) as n_items, sum(n_ratings) as n_ratings, sum(n_lists) as n_lists from spans group by years_old
),
totals as (select sum(n_items) as n_items, nullif(sum(n_ratings), 0) as n_ratings, nullif(sum(n_lists), 0) as n_lists from by_span)
select by_span.years_old, by_span.n_items * 100e0 / totals.n_items as percent_of_items,
  by_span.n_ratings * 100e0 / totals.n_ratings as percent_of_interactions, by_span.n_lists * 100e0 / totals.n_lists as percent_of_places
from by_span
cross join totals
order by by_span.youngest
