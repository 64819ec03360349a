-- How much of the catalogue is recommended at all?
-- One row per genre: its items, and how many of them are in at least one list.
with recommended as (select distinct item_id from recommendations),
genres as (select genre, item_id from item_genres)
select genres.genre, count(*) as n_items, count(recommended.item_id) as n_recommended, count(recommended.item_id) * 1e0 / count(*) as coverage
from genres
left join recommended on recommended.item_id = genres.item_id
group by genres.genre
order by coverage desc, genres.genre
