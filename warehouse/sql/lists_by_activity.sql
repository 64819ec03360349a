-- Do the lists of active users differ from those of others?
-- One row per quarter of the users, from those with the fewest interactions on: how many they are and have, the share of the items that is in their first tens, of all users who have an item of these, and of places that a fallback filled.
with quarters as (select user_id, n_ratings, ntile(4) over (order by n_ratings, user_id) as quarter from users),
people as (
  select quarter, count(*) as n_users, min(n_ratings) as fewest_interactions, max(n_ratings) as most_interactions from quarters group by quarter
),
shown as (
  select quarters.quarter, lists.item_id, count(*) as n_places,
    sum(case when lists.source in ('popular', 'popular_genre') then 1 else 0 end) as n_fallback
  from quarters
  join recommendations as lists on lists.user_id = quarters.user_id and lists.rank <= 10
  group by quarters.quarter, lists.item_id
),
places as (
  select shown.quarter, count(*) as n_items, sum(shown.n_places) as n_places, sum(shown.n_fallback) as n_fallback,
    sum(shown.n_places * items.n_ratings) as n_owners
  from shown
  join items on items.item_id = shown.item_id
  group by shown.quarter
),
totals as (select (select count(*) from items) as n_items, (select count(*) from users) as n_users)
select people.quarter, people.n_users, people.fewest_interactions, people.most_interactions, places.n_items * 100e0 / totals.n_items as percent_of_items,
  places.n_owners * 100e0 / places.n_places / totals.n_users as percent_who_have_it, places.n_fallback * 100e0 / places.n_places as percent_by_fallback
from people
left join places on places.quarter = people.quarter
cross join totals
order by people.quarter
