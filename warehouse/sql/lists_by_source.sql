-- Where do the rows of the lists come from?
-- One row per source: list rows and users that it serves; popular_genre and popular are the fallbacks.
with lists as (select source, user_id from recommendations)
select source, count(*) as n_rows, count(distinct user_id) as n_users
from lists
group by source
order by n_rows desc, source
