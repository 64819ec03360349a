-- Do the reasons add up?
-- One row: pairs with stored reasons, and the largest difference between a score and the sum of its contributions.
with sums as (select user_id, item_id, sum(contribution) as total from explanations group by user_id, item_id),
scores as (select user_id, item_id, score from recommendations)
select count(*) as n_pairs, max(abs(scores.score - sums.total)) as largest_difference,
  max(abs(scores.score - sums.total) / (abs(scores.score) + 1e-12)) as largest_relative_difference
from sums
join scores on scores.user_id = sums.user_id and scores.item_id = sums.item_id
