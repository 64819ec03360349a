-- What did ingest refuse, and why?
-- One row per file and reason, the most frequent first, with the first line it happened on.
with refused as (select source, reason, line from quarantine)
select source, reason, count(*) as n_rows, min(line) as first_line
from refused
group by source, reason
order by n_rows desc, source, reason
limit 100
