-- Which items of people's histories explain the most recommendations?
-- One row per item that is a stored reason, with how often it is and what it adds on average.
with reasons as (select evidence_id, contribution from explanations where kind = 'history'),
totals as (select evidence_id, count(*) as n_reasons, avg(contribution) as mean_contribution from reasons group by evidence_id)
select items.item_id, items.title, totals.n_reasons, totals.mean_contribution
from totals
join items on items.item_id = totals.evidence_id
order by totals.n_reasons desc, items.item_id
limit 50
