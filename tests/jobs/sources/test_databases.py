"""Tables and queries of databases, read as the CSV that holds the same rows; whatever fails says so without a password."""

from __future__ import annotations

import csv
import random
import shlex
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, UTC
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, strategies as st

from jobs.cli import main
from jobs.ingest.step import _input
from jobs.sources import engines
from jobs.sources.databases import is_database, open_database, shown
from jobs.sources.open import open_source
from jobs.sources.table import open_table, Table
from schemas.errors import SettingError, SourceError, UsageError
from schemas.settings import Settings

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = ("customer_id", "product_id", "stars", "rated", "note")
ROWS = [(n % 7, f"p {n % 9}", n % 10 / 2 + 0.5, f"2025-{n % 12 + 1:02}-{n % 4 + 20} 10:00:00", None) for n in range(200)]
COLUMNS = "user_id=customer_id,item_id=product_id,rating=stars,rated_at=rated"


def sqlite(path: Path, rows: list[tuple] = ROWS, table: str = "orders") -> Path:
    with closing(sqlite3.connect(path)) as connection:
        quoted = '"' + table.replace('"', '""') + '"'
        connection.execute(f"create table {quoted} (customer_id integer, product_id, stars real, rated text, note text)")
        connection.executemany(f"insert into {quoted} values (?, ?, ?, ?, ?)", rows)
        connection.commit()
    return path


def duck(path: Path, rows: list[tuple] = ROWS) -> Path:
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table orders (customer_id integer, product_id text, stars decimal(3, 1), rated timestamp, note text)")
        connection.executemany("insert into orders values (?, ?, ?, ?, ?)", rows)
    return path


def opened(path: Path | str, *, query: str = "", columns: str = COLUMNS, **more) -> Table:
    return open_table(open_database(str(path), query=query, columns=columns), latest=LATEST, columns=columns, **more)


def read(source: Table) -> tuple[list[tuple], list[tuple]]:
    """Rows with ids as text, and refusals, with their lines."""
    batches = list(source.interactions())
    rows = [tuple(row.values()) for batch in batches for row in batch.accepted.to_pylist()]
    refused = [(row["line"], row["text"], row["reason"]) for batch in batches for row in batch.refused.to_pylist()]
    return [(str(user), str(item), *rest) for user, item, *rest in rows], refused


@pytest.fixture
def same(tmp_path: Path) -> list[tuple]:
    """Rows of a CSV of the same, numbered from 1."""
    with (tmp_path / "same.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *ROWS])
    rows, refused = read(open_table(tmp_path / "same.csv", latest=LATEST, columns=COLUMNS))
    assert len(rows) == 200 and not refused
    return [(*row[:-1], row[-1] - 1) for row in rows]


@pytest.mark.parametrize("write", [sqlite, duck])
@pytest.mark.parametrize("query", ["", "orders", "select * from orders;\n", "select 1 as x, o.* from orders o -- all\n"])
def test_a_table_and_a_query_give_what_the_csv_of_their_rows_gives(
    tmp_path: Path, same: list[tuple], monkeypatch, write, query: str
) -> None:
    monkeypatch.setattr(engines, "BLOCK_ROWS", 64)
    source = opened(write(tmp_path / "of shop 1%.db"), query=query)
    assert read(source) == (same, []) and source.rating_scale == (0.5, 5)
    assert len(list(source.interactions())) == 4  # blocks
    assert source.read_as["file"].endswith("the rows of the query" if " " in query else "table orders")
    assert set(source.read_as["left_out"].split(", ")) == ({"note", "x"} if "as x" in query else {"note"})


def test_a_url_is_of_a_path_from_here_or_from_the_root(tmp_path: Path, same: list[tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"sqlite:///{sqlite(tmp_path / 'a.db')}", "sqlite:///a.db", f"duckdb:///{duck(tmp_path / 'b.db')}", "duckdb:///b.db"):
        assert is_database(url) and read(opened(url))[0] == same
    with pytest.raises(SettingError, match=r"path: sqlite://a.db: expected sqlite:///orders.db, with a fourth slash"):
        opened("sqlite://a.db")
    with pytest.raises(SourceError, match="c.db: no such file; expected a database"):
        opened("sqlite:///c.db")
    assert not is_database("a.csv") and not is_database(str(tmp_path))


def test_of_values_of_any_type_each_is_read_as_it_would_be_in_csv(tmp_path: Path) -> None:
    rows = [
        (1, "a", 3.0, "2025-01-01", None), ("007", 5, "4", 1_735_689_600, None), (2**60 + 1, 12.0, 2, "2025-01-01", None),
        (None, "a", 1, "2025-01-01", None), (3, b"\xff", 1, "2025-01-01", None), (3, "", 1, "2025-01-01", None), (3, "b", "good", "2025-01-01", None),
    ]  # fmt: skip
    found, refused = read(opened(sqlite(tmp_path / "a.db", rows)))
    assert [(user, item, rating) for user, item, rating, *_ in found] == [("1", "a", 3), (str(2**60 + 1), "12", 2)]
    assert refused == [
        (2, "7,5,4,1735689600", "rated_at '1735689600' is not a time"),
        (4, ",a,1,2025-01-01", "user_id is empty"),
        (5, "3,\\xff,1,2025-01-01", "item_id is not UTF-8"),
        (6, "3,,1,2025-01-01", "item_id is empty"),
        (7, "3,b,good,2025-01-01", "rating 'good' is not a number"),
    ]


def test_items_come_from_a_file_or_from_the_rows(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\np 1,One\nq,Q\n")
    path = sqlite(tmp_path / "a.db")
    assert opened(path, items=tmp_path / "items.csv").catalogue().items["title"].to_pylist() == ["One", "Q"]
    query = "select customer_id, product_id, 'The ' || product_id as title from orders"
    items = opened(path, query=query, columns="").catalogue().items
    assert sorted(items["title"].to_pylist()) == [f"The p {n}" for n in range(9)]


def test_lists_of_duckdb_are_joined_and_hashed(tmp_path: Path) -> None:
    query = "select customer_id, product_id, ['a', product_id] as genres from orders"
    source = opened(duck(tmp_path / "a.db"), query=query, columns="")
    assert "a|p 1" in source.catalogue().items["genres"].to_pylist() and len(source.digests) == 1


def test_the_only_table_of_interactions_is_taken_and_of_several_one_is_to_be_named(tmp_path: Path) -> None:
    path = sqlite(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table products (product_id text, name text)")
    assert opened(path, columns="").file.table == "orders"
    with pytest.raises(SourceError, match=r"a.db, table products: no column for user_id; the file has: product_id, name"):
        opened(path, query="products", columns="")
    with pytest.raises(
        SourceError, match=r"query: .*no table 'ordres'; there are orders \(customer_id, .*; products \(product_id, name\): name"
    ):
        opened(path, query="ordres")
    with pytest.raises(SourceError, match=r"no table has columns for user_id and item_id; there are orders .*: say which with columns"):
        opened(path, columns="user_id=who")
    sqlite(path, table='old "orders"')
    with pytest.raises(SourceError, match=r'2 tables have columns of interactions, old "orders", orders; name one with query'):
        opened(path)
    assert len(read(opened(path, query='select * from "old ""orders"""'))[0]) == 200


@pytest.mark.parametrize("write", [sqlite, duck])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("selct * from orders", r"says: .*syntax error.*; expected one select whose rows are interactions"),
        ("select * from ordres o", r"says: .*ordres.*; expected one select"),
        ("delete from orders where true", r"says: .*(readonly|read-only).*; expected one select"),
        ("select customer_id from orders", r"query: no column for item_id; the file has: customer_id"),
        ("select * from orders where false", r"query: no row below the names of the columns"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(tmp_path: Path, write, query: str, said: str) -> None:
    path = write(tmp_path / "a.db")
    with pytest.raises(SourceError, match=said):
        opened(path, query=query, columns="")
    assert len(read(opened(path))[0]) == 200


def test_a_database_that_another_program_writes_to_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_S", 0.05)
    path = sqlite(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("begin exclusive")
        with pytest.raises(
            SourceError, match=r"a.db: locked by another program \(database is locked\); run this again when nothing writes"
        ):
            opened(path)


def test_what_is_no_database_after_all_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(SourceError, match=r"a.db: SQLite says: .*; expected a database that can be read"):
        opened(tmp_path / "a.db")
    (tmp_path / "a.csv").write_text("user_id,item_id\n1,2\n")
    settings = Settings(source="table", path=str(tmp_path / "a.csv"), query="select 1")
    with pytest.raises(SettingError, match="query: .*a.csv is no database; leave query out"):
        open_source(settings, raw=tmp_path, latest=LATEST)
    with pytest.raises(UsageError, match=r"source movielens: postgresql://h/db is a database; read it by source table"):
        open_source(Settings(source="movielens", path="postgresql://u:geheim@h/db"), raw=tmp_path, latest=LATEST)


@pytest.mark.parametrize("write", [sqlite, duck])
def test_the_digest_of_the_input_is_of_the_rows_in_any_order(tmp_path: Path, write) -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    changed = [*ROWS[:-1], (*ROWS[-1][:2], 1.0, *ROWS[-1][3:])]
    found = []
    for name, rows in (("a.db", ROWS), ("b.db", shuffled), ("c.db", changed), ("d.db", ROWS[:-1])):
        source = opened(write(tmp_path / name, rows))
        read(source)
        found.append(_input(source.inputs, source.digests))
    digests = [one["sha256"] for one in found]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert [file["name"] for file in found[0]["files"]] == ["orders: customer_id, product_id, stars, rated"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ann:geheim@db.shop.example:5432/orders?sslmode=require", "postgresql://db.shop.example:5432/orders"),
        ("mysql+pymysql://geheim@h/orders", "mysql+pymysql://h/orders"),
        ("postgresql://h/orders?password=geheim@x", "a URL"),
        ("postgresql://ann:1234?geheim@h/orders", "a URL"),
        ("sqlite:///a b/orders.db", "sqlite:///a b/orders.db"),
        ("/tmp/a@b.db", "/tmp/a@b.db"),
    ],
)
def test_of_a_url_neither_user_nor_password_is_shown(url: str, said: str) -> None:
    assert shown(url) == said


@given(*[st.text("ab1@/?#:%&= \\\n", max_size=4)] * 4)
def test_no_password_is_shown_whatever_it_is_made_of(before: str, after: str, user: str, query: str) -> None:
    assert "GEHEIM" not in shown(f"postgresql://{user}:{before}GEHEIM{after}@h/db?{query}")
    assert "GEHEIM" not in shown(f"postgresql://{user}@h/db?password={before}GEHEIM{after}&{query}")


def test_without_the_package_that_reaches_a_database_it_says_which(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert main(["inspect", "postgresql://ann:geheim@h/db"]) == 2
    said = capsys.readouterr().err
    assert "postgresql://h/db: databases other than SQLite and DuckDB are read by SQLAlchemy, which is not installed; install it" in said
    assert "geheim" not in said


def test_what_sqlalchemy_cannot_open_says_why(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sqlalchemy")
    for url, said in (
        ("s3://ann:geheim@h/db", "s3://h/db: no URL of a database that SQLAlchemy knows; expected one such as postgresql://user@host/data"),
        ("oracle+cx_oracle://ann:geheim@h/db", "oracle+cx_oracle://h/db: its driver, the package cx_Oracle, is not installed"),
    ):
        assert main(["inspect", url]) == 2
        shown_as = capsys.readouterr().err
        assert said in shown_as and "geheim" not in shown_as


def test_inspect_names_the_table_that_it_took(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = sqlite(tmp_path / "a.db")
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "SQLite, table orders" in text and "0 of the first 200 rows would be refused" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[:8] == ["cinematch", "run", "--source", "table", "--path", str(path), "--query", "orders"]
