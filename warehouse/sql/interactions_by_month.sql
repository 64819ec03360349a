-- When was it?
-- One row per month (UTC) that has interactions.
select month, n_ratings from rating_months order by month
