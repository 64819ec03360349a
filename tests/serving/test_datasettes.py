"""Datasette beside the release's tables: the catalogue of all releases, a search box, and our answer where nothing is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.accept import wants_page
from tests.serving.conftest import clone, Server, serving
from warehouse import catalog
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def names(server: Server) -> list[str]:
    answer = server.get("/catalog/releases.json?_shape=array&_sort=release")
    assert answer.status_code == 200, answer.text
    return [row["release"] for row in answer.json()]


def test_the_catalogue_is_a_second_database_and_follows_its_file(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    with serving(folder, key=key) as server:
        assert names(server) == [first]
        page = server.get("/catalog", headers=BROWSER).text
        assert (
            "what became of it" in page
            and "One row per release, model, protocol, metric and k" in server.get("/catalog/metrics", headers=BROWSER).text
        )
        (row,) = server.get("/catalog.json?sql=select+count(*)+as+n+from+metrics&_shape=array").json()
        assert row["n"] > 0 and server.get("/catalog.json?sql=delete+from+metrics").status_code == 400
        second = clone(warehouse, first, "20990101T000000Z")
        catalog.rebuild(warehouse)  # in its place, as every promotion does it
        assert names(server) == [first, second]
        promote(warehouse, second, reason="test")
        catalog.rebuild(warehouse)
        assert [row["is_current"] for row in server.get("/catalog/releases.json?_shape=array&_sort=release").json()] == [0, 1]
        copy = folder / "copy.db"
        copy.write_bytes(warehouse.catalog.read_bytes())
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("delete from releases where release = ?", [first])
        os.replace(copy, warehouse.catalog)  # another file in its place
        assert names(server) == [second]
        for damage in (b"", b"no database", warehouse.catalog.read_bytes()[:5000], warehouse.overlay.read_bytes() or b"x"):
            warehouse.catalog.write_bytes(damage)
            assert names(server) == [second], "what was shown before stays"
            assert server.get("/recommend/1").status_code == server.get("/cinematch/users.json?_size=1").status_code == 200
        warehouse.catalog.unlink()
        assert names(server) == [second] and server.get("/cinematch/items.json?_size=1").status_code == 200
        catalog.rebuild(warehouse)
        assert names(server) == [first, second]


def test_a_server_without_a_catalogue_shows_one_as_soon_as_there_is_one(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    warehouse.catalog.unlink()
    with serving(folder, key=key) as server:
        answer = server.get("/catalog")
        assert answer.status_code == 404 and answer.json()["ok"] is False
        assert server.get("/cinematch/users.json?_size=1").status_code == 200
        catalog.rebuild(warehouse)
        assert names(server) == [current_id(warehouse)]


@pytest.mark.parametrize("name", ["movies", "purchases"])
def test_datasettes_own_search_knows_the_index_of_titles(name: str, request: pytest.FixtureRequest) -> None:
    """Whole numbers are the rowids that it joins by; text ids have rowids beside them."""
    server = request.getfixturevalue(name)
    word = server.rows("/popular?n=1")[0]["title"].split()[0]
    rows = [server.get(f"/cinematch/items.json?_shape=array&_size=max{search}").json() for search in ("", f"&_search={word}")]
    assert rows[1] == [row for row in rows[0] if word.lower() in row["title"].lower().split()] != rows[0]
    assert 'name="_search"' in server.get("/cinematch/items", headers=BROWSER).text


@pytest.mark.parametrize(
    "path", ["/nothing-here", "/nothing/here/at/all", "/cinematch/no_table", "/cinematch/users/no-such-user", "/-/nothing", "/catalog/none"]
)
def test_a_path_that_is_not_there_is_json_unless_a_page_is_asked_for(path: str, movies: Server) -> None:
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", ""):
        answer = movies.get(path, headers={"accept": accept})
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("application/json"), (accept, answer.text)
        assert answer.json()["ok"] is False and answer.json()["status"] == 404 and answer.json()["error"]
    page = movies.get(path, headers=BROWSER)
    assert page.status_code == 404 and "Not here" in page.text and "Back to the beginning" in page.text
    assert movies.client.head(path).status_code == 404


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (None, False),
        (b"", False),
        (b"*/*", False),
        (b"application/json", False),
        (b"text/html", True),
        (b"text/*", True),
        (b"text/html, */*;q=0.8", True),
        (b"text/html;q=0.5, application/json", False),
        (b"application/json;q=0.5, text/html", True),
        (b"text/html, application/json", False),
        (b"text/html;q=0, */*", False),
        (b"TEXT/HTML", True),
        (b"text/html;q=x", False),
        (b"text/plain", False),
        (b"application/xhtml+xml,text/html;q=0.9,*/*;q=0.8", True),
    ],
)
def test_what_a_client_prefers(accept: bytes | None, is_page: bool) -> None:
    assert wants_page(accept, b"/popular") is is_page and wants_page(accept, b"/popular.json") is False
