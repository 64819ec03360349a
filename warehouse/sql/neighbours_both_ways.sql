-- Which items are neighbours both by what they are and by who liked them?
-- One row per neighbour of :item_id in either source, with its rank in each; those in both first.
with near as (select source, similar_item_id, rank, similarity from similar_items where item_id = :item_id),
ranked as (
  select similar_item_id,
    min(case when source = 'content' then rank end) as content_rank,
    min(case when source = 'collaborative' then rank end) as collaborative_rank
  from near
  group by similar_item_id
)
select ranked.similar_item_id, items.title, ranked.content_rank, ranked.collaborative_rank
from ranked
join items on items.item_id = ranked.similar_item_id
order by case when content_rank is null or collaborative_rank is null then 1 else 0 end,
  coalesce(content_rank, 1000) + coalesce(collaborative_rank, 1000), ranked.similar_item_id
