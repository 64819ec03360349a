-- Does a list look like its user?
-- One row per genre of :user_id: its share of the history and of the list, in per cent of item-genre pairs.
with history as (
  select item_genres.genre from ratings join item_genres on item_genres.item_id = ratings.item_id where ratings.user_id = :user_id
),
list as (
  select item_genres.genre from recommendations
  join item_genres on item_genres.item_id = recommendations.item_id where recommendations.user_id = :user_id
),
pairs as (
  select genre, 1 as in_history, 0 as in_list from history
  union all
  select genre, 0 as in_history, 1 as in_list from list
),
totals as (select sum(in_history) as n_history, sum(in_list) as n_list from pairs)
select pairs.genre, sum(pairs.in_history) * 100e0 / max(totals.n_history) as percent_of_history,
  sum(pairs.in_list) * 100e0 / max(totals.n_list) as percent_of_list
from pairs
cross join totals
group by pairs.genre
order by percent_of_history desc, pairs.genre
