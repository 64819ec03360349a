-- How good is the release, and against what?
-- One row per metric, with the value of each model that was measured on it.
with measured as (select model, protocol, metric, k, value, n_users from metrics)
select protocol, metric, k, model, value, n_users
from measured
order by protocol, metric, k, value desc, model
