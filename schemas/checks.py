"""Checks of a release's database: each is a query that returns no rows where all is well.

Rows of an error stop the seal, those of a warning are told. Most are derived from the declarations (bounds, choices, references); the rest state what the tables mean together.
Keys and nulls need no check: SQLite refuses such rows when they are written (STRICT, NOT NULL, PRIMARY KEY). The named
parameters `:low` and `:high` are the rating scale, null for implicit feedback; `:repeats` is the setting.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.tables import Table, TABLES

ERROR, WARNING = "error", "warning"
ADDITIVE_TOLERANCE = 1e-5
OF_ALL_USERS = {
    "counts of items are those of their ratings",
    "the ratings of an item by value are all of its ratings",
    "the lists of all items have all rows of lists",
    "the months have all interactions with a time",
    "the charts count every interaction and user",
}  # all others hold of any part of the users


@dataclass(frozen=True)
class Check:
    """A query for the rows that should not be, and the table that they are about."""

    table: str
    query: str
    severity: str = ERROR


RELATIONS: dict[str, Check] = {
    "ranks of a list run from 1 without gaps": Check("recommendations", """
        select user_id, count(*) as n, max(rank) as last from recommendations group by user_id having n != last"""),
    "ranks of similar items run from 1 without gaps": Check("similar_items", """
        select item_id, source, count(*) as n, max(rank) as last from similar_items group by item_id, source having n != last"""),
    "ranks of popular items run from 1 without gaps": Check("popular", """
        select genre, count(*) as n, max(rank) as last from popular group by genre having n != last"""),
    "a list holds an item once": Check("recommendations", """
        select user_id, item_id from recommendations group by user_id, item_id having count(*) > 1"""),
    "no list holds an item that its user has": Check("recommendations", """
        select r.user_id, r.item_id from recommendations r cross join ratings h
        where :repeats = 'off' and h.user_id = r.user_id and h.item_id = r.item_id"""),
    "a list of what may come again alone holds nothing that its user does not have": Check("recommendations", """
        select r.user_id, r.item_id from recommendations r
        where :repeats = 'only' and not exists (select 1 from ratings h where h.user_id = r.user_id and h.item_id = r.item_id)"""),
    "every user has a list": Check("recommendations", """
        select user_id from users where :repeats != 'only'
        and n_ratings * (:repeats = 'off') < (select count(distinct coalesce(same_item_id, item_id)) from items where is_blocked = 0)
        and not exists (select 1 from recommendations r where r.user_id = users.user_id)"""),
    "a list is ordered by score within its source, ties by item id": Check("recommendations", """
        select b.user_id, b.rank from recommendations a join recommendations b
        on b.user_id = a.user_id and b.rank = a.rank + 1 and b.source = a.source
        where a.model_rank is null and (b.score > a.score or (b.score = a.score and b.item_id < a.item_id))"""),
    "a list that was finished was ordered by score before, ties by item id": Check("recommendations", """
        select user_id, "rank" from (
          select user_id, "rank", score, item_id, lag(score) over before as last_score, lag(item_id) over before as last_item
          from recommendations where model_rank is not null window before as (partition by user_id order by model_rank)
        ) where score > last_score or (score = last_score and item_id < last_item)"""),
    "no list is shorter than it could be": Check("recommendations", """
        select u.user_id from users u where (select count(*) from recommendations r where r.user_id = u.user_id)
        < min((select max("rank") from recommendations), case :repeats when 'only' then (
            select count(distinct coalesce(i.same_item_id, i.item_id)) from ratings h cross join items i
            where h.user_id = u.user_id and i.item_id = h.item_id and i.is_blocked = 0)
          else (select count(distinct coalesce(same_item_id, item_id)) from items where is_blocked = 0)
            - u.n_ratings * (:repeats = 'off') end)"""),
    "no list holds an item under two ids, or under another id than its user has it": Check("recommendations", """
        with listed as (
          select r.user_id, r.item_id, i.same_item_id from recommendations r cross join items i on i.item_id = r.item_id
          where r.item_id in (select item_id from items where same_item_id is not null))
        select user_id, same_item_id from listed group by user_id, same_item_id having count(*) > 1
        union all
        select l.user_id, l.same_item_id from listed l cross join items i on i.same_item_id = l.same_item_id
        cross join ratings h on h.user_id = l.user_id and h.item_id = i.item_id where :repeats = 'off'"""),
    "nothing that is blocked is listed": Check("items", """
        select item_id from items where is_blocked = 1 and (
          exists (select 1 from recommendations r where r.item_id = items.item_id)
          or exists (select 1 from popular p where p.item_id = items.item_id)
          or exists (select 1 from similar_items s where s.similar_item_id = items.item_id))"""),
    "predicted ratings are inside the scale": Check("recommendations", """
        select user_id, item_id, predicted_rating from recommendations
        where predicted_rating < :low or predicted_rating > :high"""),
    "contributions add up to the score": Check("explanations", f"""
        select r.user_id, r.item_id, r.score, e.total from recommendations r join (
          select user_id, item_id, total(contribution) as total from explanations group by user_id, item_id
        ) e on e.user_id = r.user_id and e.item_id = r.item_id
        where abs(r.score - e.total) > {ADDITIVE_TOLERANCE} * max(abs(r.score), 1e-3)"""),  # nosec B608  # a constant of this module
    "an explanation explains a recommendation": Check("explanations", """
        select e.user_id, e.item_id from explanations e left join recommendations r
        on r.user_id = e.user_id and r.item_id = e.item_id where r.user_id is null"""),
    "a ready list is the head of the list": Check("ready_lists", """
        select h.user_id from ready_lists h
        where h.n_rows != (select count(*) from recommendations r where r.user_id = h.user_id and r.rank <= h.n_rows)
        or h.source is not (select r.source from recommendations r where r.user_id = h.user_id and r.rank = 1)"""),
    "every list is ready": Check("ready_lists", """
        select r.user_id from recommendations r where r.rank = 1
        and not exists (select 1 from ready_lists h where h.user_id = r.user_id)"""),
    "a history reason names an item that the user has": Check("explanations", """
        select e.user_id, e.evidence_id from explanations e left join ratings h
        on h.user_id = e.user_id and h.item_id = e.evidence_id where e.kind = 'history' and h.user_id is null"""),
    "counts of users are those of their ratings": Check("users", """
        select u.user_id from users u where u.n_ratings != (select count(*) from ratings r where r.user_id = u.user_id)"""),
    "counts of items are those of their ratings": Check("items", """
        select i.item_id from items i where i.n_ratings != (select count(*) from ratings r where r.item_id = i.item_id)"""),
    "the ratings of an item by value are all of its ratings": Check("item_ratings", """
        select i.item_id from items i left join item_ratings c on c.item_id = i.item_id where i.mean_rating is not null
        group by i.item_id having total(c.n_ratings) != i.n_ratings"""),
    "the lists of all items have all rows of lists": Check("item_lists", """
        select n from (select (select count(*) from recommendations) as n, (select total(n_lists) from item_lists) as counted)
        where n != counted"""),
    "the months have all interactions with a time": Check("rating_months", """
        select n from (select (select count(*) from ratings where rated_at is not null) as n, (select total(n_ratings) from rating_months) as counted)
        where n != counted"""),
    "the charts count every interaction and user": Check("analytics", """
        with counted as (
          select 'interactions_by_month' as chart, 'n_ratings' as series, total(n_ratings) as n from rating_months
          union all select 'interactions_by_rating', 'n_ratings', total(n_ratings) from item_ratings
          union all select 'lists_by_activity', 'n_users', count(*) from users)
        select chart, n from counted c where n != (select total(value) from analytics a where a.chart = c.chart and a.series = c.series)"""),
    "the shares of a chart make a whole": Check("analytics", """
        select chart, series from analytics where chart in ('lists_by_decade', 'lists_by_age') group by chart, series
        having abs(total(value) - 100) > 1e-6
        union all select chart, series from analytics where chart = 'long_tail' group by chart, series having abs(max(value) - 100) > 1e-6"""),
    "an item is not its own neighbour": Check("similar_items", "select item_id from similar_items where item_id = similar_item_id"),
}  # fmt: skip

# About items and models alone: their first rows are kept, and must not name a user who may be forgotten later.
WARNINGS: dict[str, Check] = {
    "an item of the catalogue has a title": Check("items", """
        select item_id, title, n_ratings from items where is_in_catalogue = 1 and title = cast(item_id as text)
        order by n_ratings desc, item_id""", WARNING),
    "an item that was rated is in the catalogue, where there is one": Check("items", """
        select item_id, n_ratings from items where is_in_catalogue = 0 and exists (select 1 from items where is_in_catalogue = 1)
        order by n_ratings desc, item_id""", WARNING),
    "an item of the catalogue has a genre, where any has one": Check("items", """
        select item_id, title, n_ratings from items where is_in_catalogue = 1 and genres = ''
        and exists (select 1 from items where genres <> '')
        order by n_ratings desc, item_id""", WARNING),
    "an item has one id": Check("items", """
        select same_item_id, item_id, title from items where same_item_id <> item_id order by same_item_id, item_id""", WARNING),
    "no model failed": Check("models", """
        select model, message from models where status = 'failed' order by model""", WARNING),
}  # fmt: skip


def declared_checks(table: Table) -> dict[str, Check]:
    """Bounds, choices and references of one table."""
    queries = {}
    for column in table.columns:
        name = f"{table.name}.{column.name}"
        outside = [f"{column.name} < {column.minimum}"] if column.minimum is not None else []
        outside += [f"{column.name} > {column.maximum}"] if column.maximum is not None else []
        if outside:
            queries[f"{name} is inside its bounds"] = f"select * from {table.name} where {' or '.join(outside)}"  # nosec B608  # schemas.tables
        if column.choices:
            choices = ", ".join(f"'{choice}'" for choice in column.choices)
            queries[f"{name} is one of its choices"] = f"select * from {table.name} where {column.name} not in ({choices})"  # nosec B608  # schemas.tables
    for reference in table.references:
        queries[f"{table.name}.{reference.column} is in {reference.table}"] = (
            f"select distinct {reference.column} from {table.name} "  # nosec B608  # schemas.tables
            f"where {reference.column} not in (select {reference.target} from {reference.table})"
        )
    return {name: Check(table.name, query) for name, query in queries.items()}


def all_checks() -> dict[str, Check]:
    """Each check by its name."""
    declared = {name: check for table in TABLES.values() for name, check in declared_checks(table).items()}
    return declared | RELATIONS | WARNINGS
