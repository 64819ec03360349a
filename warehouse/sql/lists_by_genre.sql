-- Do the lists have the genres that people choose?
-- One row per genre, the fifty most frequent: its share of the items, of the interactions and of the places in lists, in per cent of pairs with a genre.
with counted as (
  select items.item_id, items.n_ratings, coalesce(item_lists.n_lists, 0) as n_lists
  from items
  left join item_lists on item_lists.item_id = items.item_id
),
by_genre as (
  select item_genres.genre, count(*) as n_items, sum(counted.n_ratings) as n_ratings, sum(counted.n_lists) as n_lists
  from item_genres
  join counted on counted.item_id = item_genres.item_id
  group by item_genres.genre
),
totals as (select sum(n_items) as n_items, nullif(sum(n_ratings), 0) as n_ratings, nullif(sum(n_lists), 0) as n_lists from by_genre)
select by_genre.genre, by_genre.n_items * 100e0 / totals.n_items as percent_of_items,
  by_genre.n_ratings * 100e0 / totals.n_ratings as percent_of_interactions, by_genre.n_lists * 100e0 / totals.n_lists as percent_of_places
from by_genre
cross join totals
order by by_genre.n_ratings desc, by_genre.genre
limit 50
