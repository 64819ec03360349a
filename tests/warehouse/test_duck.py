"""DuckDB over the Parquet files of a warehouse: the views, over one release and over all, and the command that asks them."""

from __future__ import annotations

import csv
import io
import json

import duckdb
import pytest

from jobs.cli import main
from schemas.errors import NotFound
from schemas.tables import TABLES
from tests.conftest import Built, cut
from tests.warehouse.conftest import add_release
from warehouse import duck, forgotten
from warehouse.layout import Warehouse
from warehouse.promotion import promote

SECOND = "20990101T000000Z"


def rows(warehouse: Warehouse, query: str, **values: object) -> list[tuple]:
    with duck.connect(warehouse) as connection:
        return connection.execute(query, values).fetchall()


def test_every_table_is_a_view_of_the_release_and_of_all_releases(copied: Built) -> None:
    add_release(copied, SECOND)
    for name in TABLES:
        n = copied.manifest.counts[name]
        assert rows(copied.warehouse, f"select count(*) from {name}") == [(n,)], name
        of_all = rows(copied.warehouse, f"select release, count(*) from releases.{name} group by all order by release")
        assert of_all == ([(copied.release_id, n), (SECOND, n)] if n else []), name


def test_as_of_a_time_there_is_the_release_that_was_served_then(copied: Built) -> None:
    add_release(copied, SECOND)
    (first,) = rows(copied.warehouse, "select release, since, until from releases.served")
    assert first[0] == copied.release_id and first[2] is None
    promote(copied.warehouse, SECOND, reason="newer")
    served = rows(copied.warehouse, "select release, since, until from releases.served order by since")
    assert [row[0] for row in served] == [copied.release_id, SECOND] and served[0][2] == served[1][1] and served[1][2] is None
    as_of = "select distinct release from releases.recommendations join releases.served using (release) where $at >= since and $at < until"
    assert rows(copied.warehouse, as_of, at=served[0][1]) == [(copied.release_id,)]


def test_a_forgotten_user_is_in_no_view(copied: Built) -> None:
    (user,) = rows(copied.warehouse, "select user_id from users order by user_id limit 1")[0]
    forgotten.add(copied.warehouse, user)
    for name, table in TABLES.items():
        if table.is_by_user:
            for view in (name, f"releases.{name}"):
                assert rows(copied.warehouse, f"select count(*) from {view} where user_id = $user", user=user) == [(0,)], view
    assert rows(copied.warehouse, "select count(*) from users") == [(copied.manifest.counts["users"] - 1,)]
    known = forgotten.read(copied.warehouse.forgotten)
    assert not [text for (text,) in rows(copied.warehouse, "select text from quarantine") if known.names(text)]


def test_views_are_a_script_for_other_programs(copied: Built, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "--views", "--warehouse", str(copied.warehouse.folder)]) == 0
    with duckdb.connect() as connection:
        connection.execute(capsys.readouterr().out)
        assert connection.execute("select count(*) from items").fetchone() == (copied.manifest.counts["items"],)


def test_nothing_can_be_changed(copied: Built) -> None:
    with duck.connect(copied.warehouse) as connection, pytest.raises(duckdb.Error):
        connection.execute("delete from items")


def test_a_release_that_is_not_there_is_said(copied: Built) -> None:
    with pytest.raises(NotFound):
        duck.connect(copied.warehouse, "20000101T000000Z")


@pytest.mark.parametrize("where", ["current", SECOND])
@pytest.mark.parametrize("at", [None, 0, 40, -4])
def test_a_damaged_file_is_said_with_its_release(copied: Built, capsys: pytest.CaptureFixture[str], where: str, at: int | None) -> None:
    """Cut short at a byte, or gone."""
    add_release(copied, SECOND)
    release = copied.release if where == "current" else copied.warehouse.sealed(SECOND)
    cut(release.table("users"), at)
    status, _, error = asked(copied, capsys, "select count(*) from users")
    if at is None and where == SECOND:  # which is then left out of what is asked of all
        assert status == 0
        return
    what = "is missing" if at is None else "is damaged: it is not as it was sealed"
    said = f"release {release.id}: tables/users.parquet {what}; run `cinematch releases verify {release.id}`"
    assert status == 5 and said in error and len(error.splitlines()) == 1


def test_what_is_damaged_below_a_good_footer_is_said_when_it_is_read(copied: Built, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied.release.table("users")
    content = path.read_bytes()
    half = len(content) // 2
    cut(path, 0)
    path.write_bytes(b"PAR1" + b"\xff" * half + content[half + 4 :])
    status, _, error = asked(copied, capsys, "select * from users")
    assert status == 5 and f"release {copied.release_id}: tables/users.parquet is damaged" in error


def test_a_query_is_to_blame_where_all_files_are_whole(copied: Built, capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("select * from read_parquet('nowhere.parquet')", "select cast(title as int) from items"):
        status, _, error = asked(copied, capsys, query)
        assert status == 2 and "sql: " in error, query


@pytest.mark.parametrize(
    ("query", "expected", "names"),
    [
        ("select :user_id", "select $user_id", ["user_id"]),
        (
            "select ':user_id', x::int, 'it''s :a' where b = :b or c = :b",
            "select ':user_id', x::int, 'it''s :a' where b = $b or c = $b",
            ["b"],
        ),
    ],
)
def test_parameters_are_written_as_duckdb_has_them(query: str, expected: str, names: list[str]) -> None:
    assert duck.parameters(query) == (expected, names)


def asked(copied: Built, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["sql", *arguments, "--warehouse", str(copied.warehouse.folder)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_query_is_answered_as_table_csv_and_json(copied: Built, capsys: pytest.CaptureFixture[str]) -> None:
    query = "select item_id, title from items order by item_id limit 3"
    expected = [{"item_id": item, "title": title} for item, title in rows(copied.warehouse, query)]
    status, shown, _ = asked(copied, capsys, query)
    assert status == 0 and all(str(row["item_id"]) in shown for row in expected)
    assert list(csv.DictReader(io.StringIO(asked(copied, capsys, query, "--format", "csv")[1]))) == expected
    assert [json.loads(line) for line in asked(copied, capsys, query, "--format", "json")[1].splitlines()] == expected


def test_a_stored_question_takes_its_parameters(copied: Built, capsys: pytest.CaptureFixture[str]) -> None:
    user = rows(copied.warehouse, "select user_id from recommendations limit 1")[0][0]
    status, shown, _ = asked(copied, capsys, "--question", "list_of_user", "--param", f"user_id={user}", "--format", "json")
    assert status == 0 and json.loads(shown.splitlines()[0])["rank"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["selct"], "syntax error"),
        (["--question", "nothing"], "no question 'nothing'; there are additivity"),
        (["--question", "list_of_user"], "the query has the parameters user_id, got none"),
        (["select 1", "--param", "user_id"], "--param user_id: expected NAME=VALUE"),
    ],
)
def test_what_cannot_be_asked_is_said(copied: Built, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    status, _, error = asked(copied, capsys, *arguments)
    assert status == 2 and said in error
