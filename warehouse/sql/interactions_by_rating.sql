-- How do people rate?
-- One row per rating with its interactions; where there are more than fifty ratings, one per step of a twentieth of their span.
with scale as (select min(rating) as low, max(rating) as high, count(distinct rating) as n_values from item_ratings),
stepped as (
  select case when n_values <= 50 then rating else low + round((rating - low) * 20 / (high - low)) * (high - low) / 20 end as rating, n_ratings
  from item_ratings
  cross join scale
)
select rating, sum(n_ratings) as n_ratings from stepped group by rating order by rating
