"""Limits of strangers' SQL, on a connection as the server prepares it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.sql_limits import ANSWER_BYTES, bound, restrict


class Refused(Exception):
    pass


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "release.db"
    with sqlite3.connect(path) as made:
        made.executescript(
            "create table items (item_id integer primary key, title text);"
            "insert into items values (1, 'One Film'), (2, 'Another');"
            "create virtual table items_fts using fts5(title, item_id unindexed, prefix = '2 3');"
            "insert into items_fts select title, item_id from items;"
        )
    made.close()
    opened = bound(sqlite3.connect(f"file:{path}?immutable=1", uri=True))
    restrict(opened, Refused)
    yield opened
    opened.close()


WIDE = "with recursive c(x) as (select 1 union all select x + 1 from c limit 1000) select x, hex(zeroblob({})) from c"


@pytest.mark.parametrize("sql", [
    "select length(hex(randomblob(2e8)))", "select zeroblob(1e8)", "select hex(zeroblob(4.5e8))", "select randomblob(9e8)",
    "select group_concat(hex(zeroblob(400000)), '') from items, items, items", "select replace(hex(zeroblob(500000)), '0', 'abc')",
])  # fmt: skip
def test_no_value_outgrows_its_limit(sql: str, connection: sqlite3.Connection) -> None:
    with pytest.raises((sqlite3.DataError, sqlite3.OperationalError)):
        connection.execute(sql).fetchall()


def test_the_rows_of_an_answer_are_bounded_together(connection: sqlite3.Connection) -> None:
    with pytest.raises(Refused, match="4 MiB"):
        connection.execute(WIDE.format(50_000)).fetchall()
    fitting = ANSWER_BYTES // 1000 // 2 - 10
    for _ in range(3):  # each query counts from nothing
        assert len(connection.execute(WIDE.format(fitting)).fetchall()) == 1000


@pytest.mark.parametrize("sql", [
    "select fts3_tokenizer('simple')", "select load_extension('x')", "attach ':memory:' as other", "select file from pragma_database_list",
    "pragma hard_heap_limit = 0", "pragma writable_schema = 1", "create temp table t (a)", "insert into items values (3, 'x')", "delete from items",
    "update items set title = ''", "select * from sqlite_dbpage", "select * from dbstat", "vacuum into '/tmp/other'",
    "update sqlite_master set sql = ''",
    f"select 1 {' '.join(['union select 1'] * 60)}",
])  # fmt: skip
def test_what_a_release_never_needs_is_denied(sql: str, connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.DatabaseError):
        connection.execute(sql).fetchall()


@pytest.mark.parametrize("sql", [
    "select title from items_fts where items_fts match '\"fil\"*' order by rank", "select count(*) from json_each('[1, 2]')",
    "select name from pragma_table_xinfo('items')", "pragma table_info(items)", "pragma database_list", "select sql from sqlite_master",
    "explain query plan select * from items", "with a as (select title as t from items) select t from a join items i on i.title = a.t",
])  # fmt: skip
def test_reading_goes_on_as_ever(sql: str, connection: sqlite3.Connection) -> None:
    assert connection.execute(sql).fetchall()
