"""Each check finds the row that was planted for it, and none finds anything in a good release."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator

import pytest

from schemas.checks import all_checks, ERROR, RELATIONS, WARNING, WARNINGS
from schemas.setting_groups import OFF, ONLY
from schemas.tables import Column, Reference, Table, TABLES
from tests.conftest import Built
from warehouse.sqlite import CUT, failed_checks, open_immutable, results, SAMPLED

USER = "(select user_id from users order by n_ratings desc, user_id limit 1)"  # has a ranked and explained list
ITEM = "(select item_id from similar_items where rank = 2 order by item_id limit 1)"
LISTED = "(select item_id from item_lists order by item_id limit 1)"
RATED = "(item_id, rating) = (select item_id, rating from item_ratings order by item_id, rating limit 1)"
FIRST = f"user_id = {USER} and rank = 1"

ONLY_OWN = "a list of what may come again alone holds nothing that its user does not have"
PLANTS: dict[str, list[str]] = {
    "ranks of a list run from 1 without gaps": [
        f"update recommendations set rank = 1000 where user_id = {USER} and rank = 3",
        f"delete from recommendations where {FIRST}",
    ],
    "ranks of similar items run from 1 without gaps": [f"update similar_items set rank = 1000 where item_id = {ITEM} and rank = 2"],
    "ranks of popular items run from 1 without gaps": ["update popular set rank = 1000 where genre = '' and rank = 2"],
    "a list holds an item once": [
        f"update recommendations set item_id = (select item_id from recommendations where {FIRST}) where user_id = {USER} and rank = 2",
    ],
    "no list holds an item that its user has": [
        f"update recommendations set item_id = (select item_id from ratings where user_id = {USER} limit 1) where {FIRST}",
    ],
    ONLY_OWN: [f"update recommendations set score = score where {FIRST}"],  # of a release whose lists have what their users do not have
    "no list holds an item under two ids, or under another id than its user has it": [
        f"update items set same_item_id = {ITEM} where item_id in (select item_id from recommendations where user_id = {USER} limit 2)",
        f"""update items set same_item_id = {ITEM} where item_id in (select item_id from recommendations where user_id = {USER} limit 1)
            or item_id = (select item_id from ratings where user_id = {USER} limit 1)""",
    ],
    "every user has a list": [f"delete from recommendations where user_id = {USER}"],
    "a list is ordered by score within its source, ties by item id": [
        f"update recommendations set score = score + 1e6 where user_id = {USER} and rank = 2",
        f"""update recommendations set score = 1e6, item_id = (select iif(rank = 1, max(item_id), min(item_id)) from items)
            where user_id = {USER} and rank in (1, 2)""",
    ],
    "predicted ratings are inside the scale": [
        f"update recommendations set predicted_rating = {rating} where {FIRST} and predicted_rating is not null" for rating in (5.01, 0.49)
    ],
    "contributions add up to the score": [
        f"update recommendations set score = score * 1.0001 where {FIRST}",
        f"delete from explanations where user_id = {USER} and kind = 'residual'",
        f"update explanations set contribution = null where user_id = {USER}",
    ],
    "an explanation explains a recommendation": [f"delete from recommendations where {FIRST}"],
    "a ready list is the head of the list": [
        f"update ready_lists set n_rows = 1000 where user_id = {USER}",
        f"update ready_lists set source = 'other' where user_id = {USER}",
    ],
    "every list is ready": [f"delete from ready_lists where user_id = {USER}"],
    "a history reason names an item that the user has": [
        f"update explanations set evidence_id = 'no such item' where user_id = {USER} and kind = 'history'",
        f"update explanations set evidence_id = null where user_id = {USER} and kind = 'history'",
    ],
    "counts of users are those of their ratings": [f"update users set n_ratings = n_ratings + 1 where user_id = {USER}"],
    "counts of items are those of their ratings": [f"update items set n_ratings = n_ratings + 1 where item_id = {ITEM}"],
    "the ratings of an item by value are all of its ratings": [
        f"update item_ratings set n_ratings = n_ratings + 1 where {RATED}",
        f"delete from item_ratings where {RATED}",
    ],
    "the lists of all items have all rows of lists": [
        f"update item_lists set n_lists = n_lists + 1 where item_id = {LISTED}",
        f"delete from item_lists where item_id = {LISTED}",
    ],
    "the months have all interactions with a time": [
        "update rating_months set n_ratings = n_ratings + 1 where month = (select max(month) from rating_months)",
        "delete from rating_months where month = (select min(month) from rating_months)",
    ],
    "the charts count every interaction and user": [
        f"update analytics set value = value + 1 where chart = '{chart}' and series = '{series}' and position = 1"
        for chart, series in (
            ("interactions_by_month", "n_ratings"),
            ("interactions_by_rating", "n_ratings"),
            ("lists_by_activity", "n_users"),
        )
    ],
    "the shares of a chart make a whole": [
        f"delete from analytics where chart = '{chart}' and position = (select max(position) from analytics where chart = '{chart}')"
        for chart in ("lists_by_decade", "lists_by_age", "long_tail")
    ],
    "a list that was finished was ordered by score before, ties by item id": [
        f"update recommendations set model_rank = 1000 - rank where user_id = {USER}",
    ],
    "no list is shorter than it could be": [f"delete from recommendations where user_id = {USER} and rank > 2"],
    "nothing that is blocked is listed": [
        f"update items set is_blocked = 1 where item_id = (select {column} from {table} limit 1)"
        for table, column in (("recommendations", "item_id"), ("popular", "item_id"), ("similar_items", "similar_item_id"))
    ],
    "an item is not its own neighbour": [f"update similar_items set similar_item_id = item_id where item_id = {ITEM} and rank = 2"],
}
WARNED: dict[str, str] = {
    "an item of the catalogue has a title": "update items set title = cast(item_id as text) where is_in_catalogue = 1",
    "an item that was rated is in the catalogue, where there is one": f"update items set is_in_catalogue = 0 where item_id = {ITEM}",
    "an item of the catalogue has a genre, where any has one": f"update items set genres = '' where item_id = {ITEM}",
    "an item has one id": f"update items set same_item_id = {LISTED} where item_id <> {LISTED} and same_item_id is null",
    "no model failed": "update models set status = 'failed', message = 'no memory'",
}


def one_row(table: Table) -> str:
    key = ", ".join(table.key)
    return f"({key}) = (select {key} from {table.name} order by {key} limit 1)"


def planted(table: Table, column: Column | Reference) -> Iterator[tuple[str, str]]:
    """Check and statement for each thing that a declaration forbids."""
    where = one_row(table)
    if isinstance(column, Reference):
        yield f"{table.name}.{column.column} is in {column.table}", f"update {table.name} set {column.column} = -987654321 where {where}"
        return
    for bound, beyond in ((column.minimum, -1), (column.maximum, 1)):
        if bound is not None:
            yield (
                f"{table.name}.{column.name} is inside its bounds",
                f"update {table.name} set {column.name} = {bound + beyond} where {where}",
            )
    if column.choices:
        yield f"{table.name}.{column.name} is one of its choices", f"update {table.name} set {column.name} = 'other' where {where}"


DECLARED = [case for table in TABLES.values() for column in (*table.columns, *table.references) for case in planted(table, column)]
CASES = [(name, statement) for name, statements in PLANTS.items() for statement in statements] + DECLARED


@pytest.fixture(params=["movie_release", "purchase_release"])
def release(request: pytest.FixtureRequest) -> Iterator[tuple[Built, sqlite3.Connection]]:
    """A release, and its database in memory, to be changed."""
    built = request.getfixturevalue(request.param)
    source, copy = open_immutable(built.release.database), sqlite3.connect(":memory:")
    source.backup(copy)
    yield built, copy
    source.close()
    copy.close()


def test_there_is_a_planted_row_for_every_check() -> None:
    assert {name for name, _ in CASES} | WARNED.keys() == set(all_checks())
    assert PLANTS.keys() == RELATIONS.keys() and WARNED.keys() == WARNINGS.keys()


def test_a_good_release_passes_every_check(release: tuple[Built, sqlite3.Connection]) -> None:
    built, connection = release
    assert failed_checks(connection, built.manifest.rating_scale) == {}


def test_every_check_finds_what_was_planted_for_it(release: tuple[Built, sqlite3.Connection]) -> None:
    built, connection = release
    connection.isolation_level = None
    n_planted = 0
    for name, statement in CASES:
        connection.execute("begin")
        if connection.execute(statement).rowcount:
            n_planted += 1
            repeats = ONLY if name == ONLY_OWN else OFF
            assert name in failed_checks(connection, built.manifest.rating_scale, repeats), statement
        connection.execute("rollback")
    assert n_planted > 0.8 * len(CASES)


def test_a_warning_tells_of_what_was_planted_for_it_and_fails_nothing(release: tuple[Built, sqlite3.Connection]) -> None:
    built, connection = release
    connection.isolation_level = None
    for name, statement in WARNED.items():
        (before,) = results(connection, None, [name])
        connection.execute("begin")
        n_changed = connection.execute(statement).rowcount
        (found,) = results(connection, None, [name])
        is_failed = name in failed_checks(connection, built.manifest.rating_scale)
        connection.execute("rollback")
        assert n_changed and found.n_rows > before.n_rows and not found.is_failed and not is_failed, name
        assert found.row()["severity"] == WARNING and len(json.loads(found.row()["sample"])) == min(found.n_rows, SAMPLED)


def test_no_warning_reads_a_table_of_users() -> None:
    """Their samples stay in every release and in the catalogue; whoever is forgotten must not be in them."""
    of_users = [table.name for table in TABLES.values() if table.is_by_user]
    for check in WARNINGS.values():
        assert check.table in TABLES and check.severity == WARNING
        assert not [name for name in (*of_users, "user_id", "quarantine") if re.search(rf"\b{name}\b", check.query)]
    assert {check.severity for name, check in all_checks().items() if name not in WARNINGS} == {ERROR}


def test_all_rows_of_a_check_are_counted_and_the_first_few_shown(release: tuple[Built, sqlite3.Connection]) -> None:
    built, connection = release
    connection.execute("update explanations set kind = 'other', detail = ?", ["x" * 1000])
    connection.execute("update ready_lists set n_rows = -1")
    kinds, ready = results(connection, built.manifest.rating_scale, [
        "explanations.kind is one of its choices", "ready_lists.n_rows is inside its bounds"
    ])  # fmt: skip
    assert (kinds.n_rows, ready.n_rows) == (built.manifest.counts["explanations"], built.manifest.counts["ready_lists"])
    assert kinds.is_failed and kinds.check.table == "explanations"
    samples = [json.loads(found.row()["sample"]) for found in (kinds, ready)]
    assert [len(sample) for sample in samples] == [SAMPLED, SAMPLED] and list(samples[0][0]) == TABLES["explanations"].names
    assert samples[0][0]["detail"] == "x" * CUT + "…" and samples[1][0]["rows"].endswith(" bytes")


def test_a_user_who_has_every_item_needs_no_list() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript("""
        create table users (user_id, n_ratings); create table items (item_id, is_blocked, same_item_id); create table recommendations (user_id);
        insert into items values (1, 0, null), (2, 0, 2), (3, 1, null), (4, 0, 2); insert into users values ('has both', 2), ('has one', 1);""")
    query = RELATIONS["every user has a list"].query
    for repeats, without in (("off", ["has one"]), ("allow", ["has both", "has one"]), ("only", [])):
        assert connection.execute(query, {"repeats": repeats}).fetchall() == [(user,) for user in without]
    connection.close()
