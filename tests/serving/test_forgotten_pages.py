"""Datasette shows nothing of users who were forgotten, by whichever way it is asked."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from serving.apart import MAKING
from tests.conftest import Built
from tests.serving.conftest import copied, Server, serving
from tests.serving.inside import inside
from warehouse import forgotten
from warehouse.layout import PAGES, Warehouse
from warehouse.redacted import redact
from warehouse.release import read_manifest

USER = 3
BY_USER = ("users", "ratings", "recommendations", "explanations", "ready_lists")


def asked(server: Server, path: str) -> httpx.Response:
    """The answer, once the copy without the forgotten is made."""
    deadline = time.monotonic() + 60
    while (answer := server.get(path)).status_code == 503 and time.monotonic() < deadline:
        assert answer.json()["ok"] is False and int(answer.headers["retry-after"]) > 0
        time.sleep(0.1)
    return answer


def sql(server: Server, query: str) -> list[dict]:
    answer = asked(server, f"/cinematch.json?sql={quote(query)}&_shape=array")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def server(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has shown a user's rows, and then heard that they are forgotten."""
    folder = copied(movie_release, tmp_path_factory.mktemp("forgotten") / "pages")
    with serving(folder, "--allow-download") as made:
        (row,) = sql(made, f"select count(*) as n from main.ratings where user_id = {USER}")
        assert row["n"] > 0 and made.get(f"/cinematch/users/{USER}").status_code == 200
        forgotten.add(Warehouse(folder), USER)
        yield made


@pytest.mark.parametrize("query", [
    "select count(*) as n from {table} where user_id = {user}", "select count(*) as n from main.{table} where user_id = {user}",
    'select count(*) as n from "main"."{table}" where cast(user_id as text) = \'{user}\'',
    "with {table} as (select * from main.{table}) select count(*) as n from {table} where user_id = {user}",
    "with a as materialized (select * from main.{table}) select count(*) as n from (select * from a) where user_id = {user}",
    "select count(*) as n from (select user_id from {table} union all select user_id from main.{table}) where user_id = {user}",
])  # fmt: skip
def test_no_query_reaches_a_forgotten_user(query: str, server: Server) -> None:
    for table in BY_USER:
        assert sql(server, query.format(table=table, user=USER)) == [{"n": 0}], table
        assert sql(server, query.format(table=table, user=USER + 1))[0]["n"] > 0, "and others are there"


@pytest.mark.parametrize("table", BY_USER)
def test_pages_streams_and_facets_leave_a_forgotten_user_out(table: str, server: Server) -> None:
    rows = asked(server, f"/cinematch/{table}.json?user_id={USER}&_shape=array")
    assert rows.status_code == 200 and rows.json() == []
    streamed = asked(server, f"/cinematch/{table}.csv?_stream=on&_size=max&_col=user_id&user_id__in={USER},{USER + 1}").text.splitlines()
    at = streamed[0].split(",").index("user_id")
    assert {line.split(",")[at] for line in streamed[1:]} == {str(USER + 1)}
    faceted = asked(server, f"/cinematch/{table}.json?_facet=user_id&_facet_size=max&user_id__lt=10").json()
    assert str(USER) not in {str(found["value"]) for found in faceted["facet_results"]["user_id"]["results"]}
    page = asked(server, f"/cinematch/{table}?user_id={USER}")
    assert page.status_code == 200 and f'/{USER}"' not in page.text


def test_rows_and_canned_queries_of_a_forgotten_user_are_empty_and_counts_are_of_the_others(server: Server, movie_release: Built) -> None:
    assert asked(server, f"/cinematch/users/{USER}.json").status_code == 404
    for query in ("list_of_user", "genre_balance_of_user"):
        found = {user: asked(server, f"/cinematch/{query}.json?user_id={user}&_shape=array").json() for user in (USER, USER + 1)}
        assert not found[USER] and found[USER + 1], query
    shown = asked(server, "/cinematch.json").json()
    counts = {table["name"]: table["count"] for table in shown["tables"]}
    assert counts["users"] == movie_release.manifest.counts["users"] - 1 == sql(server, "select count(*) as n from users")[0]["n"]
    assert counts["ratings"] == sql(server, "select count(*) as n from ratings")[0]["n"] < movie_release.manifest.counts["ratings"]


def test_the_download_holds_no_row_of_a_forgotten_user(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "downloaded.db"
    path.write_bytes(asked(server, "/cinematch.db").content)
    with closing(sqlite3.connect(path)) as connection:
        for table in BY_USER:
            found = {user for (user,) in connection.execute(f"select distinct user_id from {table}")}
            assert USER not in found and USER + 1 in found
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_the_copy_is_made_again_for_the_next_one_and_goes_with_the_server(movie_release: Built, tmp_path: Path) -> None:
    folder = copied(movie_release, tmp_path / "own")
    warehouse = Warehouse(folder)
    forgotten.add(warehouse, USER)
    with serving(folder) as server:
        assert sql(server, "select min(user_id) as first from users where user_id >= 3") == [{"first": 4}]
        kept = server.get("/").headers["etag"]
        assert server.get("/", headers={"if-none-match": kept}).status_code == 304
        forgotten.add(warehouse, 4)
        begun = server.get("/", headers={"if-none-match": kept})
        assert begun.status_code == 200 and not {USER, 4} & {user["user_id"] for user in begun.json()["users"]}
        assert sql(server, "select min(user_id) as first from users where user_id >= 3") == [{"first": 5}]
        assert [path.name[: len(PAGES)] for path in warehouse.staging.iterdir() if path.is_dir()] == [PAGES]
    deadline = time.monotonic() + 10
    while list(warehouse.staging.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(warehouse.staging.iterdir()) == []


def test_no_byte_of_a_forgotten_user_is_left_for_a_download(purchase_release: Built, tmp_path: Path) -> None:
    """Nor in the text of rows that were refused."""
    warehouse, user = Warehouse(tmp_path), "Łódź #4"
    forgotten.add(warehouse, user)
    release, counts = purchase_release.release, purchase_release.manifest.counts
    assert user.encode() in release.database.read_bytes()
    made = redact(release, forgotten.read(warehouse.forgotten), tmp_path, is_for_download=True)
    left = read_manifest(made).counts
    with closing(sqlite3.connect(made.database)) as connection:
        assert {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in left} == left
        assert connection.execute("select count(*) from quarantine where text = '' and reason like 'weight -2%'").fetchone() == (1,)
    assert left["users"] == counts["users"] - 1 and left["quarantine"] == counts["quarantine"]
    assert not re.search(re.escape(user.encode()) + rb"(?![0-9])", made.database.read_bytes())


def test_while_the_copy_is_made_tables_are_not_there_and_lookups_go_on(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    forgotten.add(Warehouse(folder), USER)
    with inside(folder, key) as server:
        until = time.monotonic() + 30
        while (reply := server.ask("GET", b"/cinematch/users.json?_size=1")).status == 503 and time.monotonic() < until:
            time.sleep(0.1)
        assert reply.status == 200
        (apart,) = server._app.datasettes._by_release.values()
        making = Path(apart._folder) / MAKING
        assert not making.exists()
        making.touch()
        for path in (b"/cinematch/users", b"/cinematch.json?sql=select+1", b"/cinematch/users.csv"):
            reply = server.ask("GET", path)
            assert reply.status == 503 and reply.headers[b"retry-after"] == b"5" and b"being made anew" in reply.body
        assert server.ask("GET", b"/recommend/4?strict=1").status == 200
        making.unlink()
        assert server.ask("GET", b"/cinematch/users.json?_size=1").status == 200
