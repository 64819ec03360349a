"""Facts of items in the rows of lists, and the genres there are."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from schemas.list_rows import FACTS
from serving.facts import facts_added
from serving.opened import OpenRelease
from tests.conftest import Built
from tests.serving.conftest import is_close, Server
from tests.serving.inside import inside
from tests.serving.test_hostile_release import BAD, Own, with_file
from warehouse.layout import Warehouse
from warehouse.sqlite import open_immutable

MARKUP = "<img src=x onerror=alert(1)>"


def facts_of(release: Built) -> dict[Any, dict[str, Any]]:
    """Every fact of every item, as the table has it."""
    facts = {}
    for row in map(dict, open_immutable(release.release.database).execute("select * from items")):
        item = row.pop("item_id")
        row |= {name: row[name].split("|") if row[name] else [] for name in ("genres", "tags")}
        facts[item] = row | {name: bool(row[name]) for name in ("is_in_catalogue", "is_blocked")}
    return facts


@pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_each_row_has_the_facts_that_are_asked_for_behind_what_it_had(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, facts = request.getfixturevalue(served), facts_of(request.getfixturevalue(built))
    user = quote(str(server.get("/").json()["users"][2]["user_id"]), safe="")
    items = [row["item_id"] for row in server.rows("/popular?n=5")]
    paths = [f"/recommend/{user}?n=7", f"/recommend/{user}?n=30", f"/recommend/{user}?n=200", f"/recommend/{user}?n=5&exclude=1"]
    paths += ["/recommend/987654321?n=3", f"/recommend?user_id={user}", "/popular?n=9", "/popular?n=200", "/popular?year_from=1&n=5"]
    paths += [f"/similar/{quote(str(items[0]), safe='')}?n=8", f"/similar/{quote(str(items[0]), safe='')}?source=content"]
    asked = [("GET", path, None) for path in paths] + [
        ("POST", "/recommend/session?n=6", {"ratings": [{"item_id": item} for item in items]}),
        ("POST", "/rank?strict=0", {"items": items, "ratings": []}),
    ]
    assert set(FACTS) == set(next(iter(facts.values()))) - {"title"}
    for fields in (["genres", "year"], [name for name in FACTS if name != "n_ratings"]):
        for method, path, body in asked:
            plain = server.client.request(method, path, json=body).json()["rows"]
            answer = server.client.request(method, f"{path}{'&' if '?' in path else '?'}fields={','.join(fields)}", json=body)
            assert answer.status_code == 200, answer.text
            for row, had in zip(answer.json()["rows"], plain, strict=True):
                assert list(row) == [*had, *fields] and is_close({name: row[name] for name in had}, had), path
                assert {name: row[name] for name in fields} == {name: facts[row["item_id"]][name] for name in fields}, path


def test_a_key_that_a_row_has_already_stays_as_it_is(movies: Server) -> None:
    plain, asked = movies.rows("/popular?n=5"), movies.rows("/popular?n=5&fields=n_ratings&fields=year,year")
    assert [{name: value for name, value in row.items() if name != "year"} for row in asked] == plain


def test_a_field_that_there_is_not_is_refused_with_those_that_there_are(movies: Server) -> None:
    for path in ("/recommend/1", "/popular", "/similar/1"):
        for field in ("title", "item_id", "genres; drop table items", "Year"):
            refused = movies.get(path, params={"fields": f"year,{field}"}, headers={"if-none-match": "*"})
            assert refused.status_code == 400 and "fields: release" in refused.json()["error"], refused.text
            assert refused.json()["error"].endswith(f"it has {', '.join(FACTS)}")
    assert movies.rows("/popular?fields=") == movies.rows("/popular")


def test_whoever_has_an_answer_with_facts_is_told_so_and_it_has_every_shape(movies: Server) -> None:
    path = "/recommend/5?n=3&fields=year"
    tag = movies.get(path).headers["etag"]
    assert movies.get(path, headers={"if-none-match": tag}).status_code == 304
    rows = movies.rows(path)
    assert movies.get(f"{path}&_shape=array").json() == rows
    assert [row[-1] for row in movies.get(f"{path}&_shape=arrays").json()["rows"]] == [row["year"] for row in rows]
    following = movies.get(movies.get(path).json()["next_url"]).json()["rows"]
    assert [row["rank"] for row in following] == [4, 5, 6] and all("year" in row for row in following)


def test_facts_of_any_number_of_rows_are_one_query(movie_release: Built) -> None:
    opened, said = OpenRelease(movie_release.release), []
    rows = [{"item_id": item} for (item,) in opened.reader().execute("select item_id from items limit 300").fetchall()]
    opened.reader().set_trace_callback(said.append)
    for some in (rows[:1], rows):
        said.clear()
        assert len(facts_added(opened, some, ("year", "genres"))) == len(some)
        assert len([text for text in said if "from items" in text]) == 1
    opened.retire()


def test_pages_show_year_and_genres_beside_the_title(movies: Server, movie_release: Built) -> None:
    facts, item = facts_of(movie_release), movies.rows("/popular?n=1")[0]["item_id"]
    for path in (
        "/recommend/1",
        "/recommend/1?n=200",
        "/popular",
        f"/similar/{item}",
        f"/similar?items={item},1",
        f"/playground?rated={item}:5",
    ):
        shown = movies.get(path, headers={"accept": "text/html"}).text
        for row in movies.rows(path):
            fact = facts[row["item_id"]]
            year = [] if fact["year"] is None or str(fact["year"]) in row["title"] else [str(fact["year"])]
            parts = [*year, *([", ".join(fact["genres"])] if fact["genres"] else [])]
            assert not parts or f'<div class="facts">{" · ".join(parts)}</div>' in shown, (path, row)
    assert '<div class="facts">' in shown


def _with_markup(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update items set genres = ?, year = 1999, title = 'A film'", [f"{MARKUP}|Drama"])
        connection.commit()


def test_genres_of_a_foreign_release_are_no_markup(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    with_file(warehouse, "cinematch.db", _with_markup)
    warehouse.current.write_text(BAD + "\n")
    with inside(folder, key) as asked:
        for path in (b"/recommend/1", b"/popular", b"/similar/1", b"/similar?items=1,2", b"/genres"):
            shown = asked.ask("GET", path, headers={b"accept": b"text/html"}).body.decode()
            assert "<img" not in shown and (path == b"/genres" or "1999 · &lt;img src=x onerror=alert(1)&gt;, Drama</div>" in shown), path
        assert asked.rows(b"/popular?n=1&fields=genres")[0]["genres"] == [MARKUP, "Drama"]


@pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_genres_are_counted_as_the_table_has_them(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, release = request.getfixturevalue(served), request.getfixturevalue(built).release
    counts = open_immutable(release.database).execute("select genre, count(*) from item_genres group by genre order by genre")
    rows = server.rows("/genres")
    assert [(row["genre"], row["n_items"]) for row in rows] == [tuple(row) for row in counts] and rows
    shown = server.get("/genres", headers={"accept": "text/html"}).text
    assert all(f'href="/popular?genre={quote(row["genre"], safe="/")}"' in shown for row in rows)
    assert 'href="/genres"' in server.get("/popular", headers={"accept": "text/html"}).text
    assert server.get("/genres?_shape=object").json() == {row["genre"]: row for row in rows}
    assert json.loads(server.get("/genres?_shape=arrayfirst").text) == [row["genre"] for row in rows]
