-- How few items make up most?
-- One row for the interactions, the places in lists and those in first tens: their Gini coefficient over all items, the share of the items that have any and that together have half, and the share of the most frequent hundredth.
with counted as (
  select items.n_ratings, coalesce(item_lists.n_lists, 0) as n_lists, coalesce(item_lists.n_first_tens, 0) as n_first_tens
  from items
  left join item_lists on item_lists.item_id = items.item_id
),
had as (
  select 1 as place, 'interactions' as what, n_ratings as n from counted where n_ratings > 0
  union all
  select 2 as place, 'places' as what, n_lists as n from counted where n_lists > 0
  union all
  select 3 as place, 'first_tens' as what, n_first_tens as n from counted where n_first_tens > 0
),
ranked as (
  select place, what, n, row_number() over (partition by place order by n desc) as position,
    sum(n) over (partition by place order by n desc rows between unbounded preceding and current row) as n_so_far
  from had
),
totals as (select place, sum(n) as n from had group by place),
everything as (select count(*) as n_items from items)
select ranked.what,
  2e0 * sum((n_items + 1 - position) * ranked.n) / (max(n_items) * max(totals.n)) - (max(n_items) + 1e0) / max(n_items) as gini,
  count(*) * 100e0 / max(n_items) as percent_of_items_with_any,
  sum(case when (n_so_far - ranked.n) * 2 < totals.n then 1 else 0 end) * 100e0 / max(n_items) as percent_of_items_with_half,
  sum(case when (position - 1) * 100 < n_items then ranked.n else 0 end) * 100e0 / max(totals.n) as percent_of_most_frequent_hundredth
from ranked
join totals on totals.place = ranked.place
cross join everything
group by ranked.place, ranked.what
order by ranked.place
