-- Why was an item shown to a user?
-- One row per reason for :item_id in the list of :user_id; the contributions sum to the score.
with reasons as (select * from explanations where user_id = :user_id and item_id = :item_id),
histories as (select * from reasons where kind = 'history'),
named as (
  select histories.position, items.title as because_of, ratings.rating
  from histories
  join items on items.item_id = histories.evidence_id
  join ratings on ratings.user_id = histories.user_id and ratings.item_id = histories.evidence_id
)
select reasons.position, reasons.kind, coalesce(named.because_of, reasons.evidence_id) as evidence, named.rating, reasons.contribution, reasons.detail
from reasons
left join named on named.position = reasons.position
order by reasons.position
