"""Neighbours: stored and compared, filtered, and of several items together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from serving.neighbours import nearest, stored_neighbours
from serving.opened import OpenRelease
from tests.conftest import Built
from tests.serving.conftest import Server
from tests.serving.test_lookups import pages
from warehouse.sqlite import open_immutable

SOURCES = ("collaborative", "content")
SERVED = pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])


def listed(items: Iterable[Any]) -> str:
    """Ids as a parameter has them."""
    return ",".join(quote(str(item).replace("\\", "\\\\").replace(",", "\\,"), safe="") for item in items)


def path_of(item: Any, query: str = "n=1000") -> str:
    return f"/similar/{quote(str(item), safe='')}?{query}"


def similarities(server: Server, path: str) -> dict[Any, float]:
    return {row["item_id"]: row["similarity"] for row in server.rows(path)}


def assert_same_ranking(found: list[dict], expected: dict[Any, float]) -> None:
    """Compare rows with similarities by item: what is alike to six digits may stand either way."""
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    assert {row["item_id"]: row["similarity"] for row in found} == pytest.approx(expected, abs=1e-6)
    assert [row["similarity"] for row in found] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-6)


@SERVED
def test_behind_the_stored_neighbours_stand_all_others(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, opened = request.getfixturevalue(served), OpenRelease(request.getfixturevalue(built).release)
    item = server.rows("/popular?n=3")[2]["item_id"]
    number, is_reachable = opened.number(item), np.ones(len(opened.item_ids), bool)
    is_reachable[opened.side.blocked] = False
    n_stored = opened.manifest.settings["similar_n"]
    for source in SOURCES:
        vectors = opened.vectors[source]
        rows = vectors.rows if source == "collaborative" else vectors.rows.toarray()
        unit = rows / np.where(vectors.norms > 0, vectors.norms, 1)[:, None]
        cosines = unit @ unit[number]
        expected = {
            opened.item_id(k): cosines[k]
            for k in np.flatnonzero(is_reachable & (vectors.norms > 0) & (cosines != 0))
            if k not in opened.side.twins.with_others(np.array([number]))
        }
        path = path_of(item, f"source={source}")
        whole = server.get(f"{path}&n=1000").json()
        assert_same_ranking(whole["rows"], expected)
        assert len(whole["rows"]) > n_stored or source == "content"
        assert whole["next"] is None and whole["note"] == (
            f"there are {len(expected)} neighbours {'by what it is' if source == 'content' else 'by who liked it'}, fewer than were asked for"
        )
        stored = [row | {"source": source} for row in stored_neighbours(opened, item, source, 0, 1000)]
        assert whole["rows"][: len(stored)] == stored
        assert pages(server, f"{path}&n=7") == whole["rows"]
        first = server.get(f"{path}&n=7").json()
        assert "note" not in first and first["rows"] == stored[:7]
        assert server.get(f"{path}&n={len(expected)}").json()["note"] is None
    opened.retire()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "query", ["genre=Drama", "any_genre=Drama,Comedy&no_genre=Action", "year_from=1990&year_to=1999", "exclude={first},{last}"]
)
def test_filters_leave_the_neighbours_that_fit(query: str, source: str, movies: Server, movie_release: Built) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    whole = similarities(movies, path_of(item, f"source={source}&n=1000"))
    query = query.format(first=next(iter(whole)), last=list(whole)[-1])
    fits = set(whole) - ({next(iter(whole)), list(whole)[-1]} if "exclude" in query else set())
    for other, genres, year in open_immutable(movie_release.release.database).execute("select item_id, genres, year from items"):
        has = set(genres.split("|"))
        if (
            "Drama" in query and not has & ({"Drama", "Comedy"} - ({"Comedy"} if query == "genre=Drama" else set()))
            or "no_genre" in query and "Action" in has
            or "year" in query and not (year and 1990 <= year <= 1999)
        ):  # fmt: skip
            fits.discard(other)
    expected = {other: whole[other] for other in whole if other in fits}
    path = path_of(item, f"source={source}&{query}")
    assert 0 < len(expected) < len(whole)
    assert_same_ranking(movies.rows(f"{path}&n=1000"), expected)
    assert pages(movies, f"{path}&n=6") == movies.rows(f"{path}&n=1000")
    few = movies.get(f"{path}&n={min(5, len(expected))}").json()
    assert len(few["rows"]) == min(5, len(expected)) and few["note"] is None and few["source"] == source


def test_that_fewer_fit_than_were_asked_for_is_said(movies: Server, purchases: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    answer = movies.get(path_of(item, "year_from=9999")).json()
    assert answer["rows"] == [] and answer["note"] == "there are 0 neighbours by who liked it that fit, fewer than were asked for"
    refused = movies.get(path_of(item, "genre=Nonsense"))
    assert refused.status_code == 400 and "genre: release" in refused.json()["error"]
    room = purchases.rows("/genres")[0]["genre"]
    cold = purchases.get(path_of("never bought", f"n=1000&genre={quote(room)}")).json()
    assert cold["source"] == "content" and cold["note"]
    whole = purchases.rows(path_of("never bought"))
    assert pages(purchases, path_of("never bought", "n=2")) == whole and {row["source"] for row in whole} == {"content"} and len(whole) > 4
    shown = movies.get(path_of(item, "year_from=9999"), headers={"accept": "text/html"}).text
    assert f"{answer['note'].capitalize()}." in shown


@SERVED
def test_neighbours_of_a_set_are_by_the_sum_over_its_items(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(served)
    items = [row["item_id"] for row in server.rows("/popular?n=12")][3::4]
    for source in SOURCES:
        expected: dict[Any, float] = {}
        for item in items:
            for other, similarity in similarities(server, path_of(item, f"source={source}&n=1000")).items():
                expected[other] = expected.get(other, 0.0) + similarity
        path = f"/similar?items={listed(items)}&source={source}"
        answer = server.get(f"{path}&n=1000").json()
        assert_same_ranking(answer["rows"], {item: sum for item, sum in expected.items() if item not in items})
        assert [row["item_id"] for row in answer["items"]] == items and answer["unusable"] == [] and answer["source"] == source
        assert pages(server, f"{path}&n=9") == answer["rows"]
        again = f"/similar?items={listed(items[::-1])}&items={listed(items[:1])}&source={source}&n=1000"
        assert server.rows(again) == answer["rows"]


@SERVED
def test_a_set_of_one_has_the_neighbours_of_that_item(served: str, built: str, request: pytest.FixtureRequest) -> None:
    """Stored similarities are of float32, so that they differ in the seventh digit, and what ties there may change places."""
    server, release = request.getfixturevalue(served), request.getfixturevalue(built).release
    for (item,) in open_immutable(release.database).execute("select item_id from items order by n_ratings desc limit 20").fetchall():
        for query in ("n=1000", "n=10", "source=content&n=1000"):
            alone, together = server.get(path_of(item, query)).json(), server.get(f"/similar?items={listed([item])}&{query}").json()
            assert together["source"] == alone["source"]
            if "1000" in query:
                assert_same_ranking(together["rows"], {row["item_id"]: row["similarity"] for row in alone["rows"]})
            pairs = zip(together["rows"], alone["rows"], strict=True)
            assert all(a["similarity"] == pytest.approx(b["similarity"], abs=1e-6) for a, b in pairs)


def test_what_a_set_names_that_is_not_known_is_said(movies: Server, purchases: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    answer = movies.get(f"/similar?items=987654321,{item},-5&n=3").json()
    assert answer["unusable"] == [987654321, -5] and answer["rows"] == movies.rows(f"/similar?items={item}&n=3")
    for query, status, says in (
        ("items=987654321,-5", 404, "none of 987654321, -5 is in release"),
        ("", 400, "items: is missing"),
        ("items=", 400, "items: is missing"),
        ("items=x", 400, "whole number"),
        (f"items={','.join(map(str, range(101)))}", 400, "items: 101 items, expected at most 100"),
        (f"items={item}&next=x", 400, "next:"),
    ):
        refused = movies.get(f"/similar?{query}")
        assert refused.status_code == status and says in refused.json()["error"], refused.text
    shown = movies.get(f"/similar?items=987654321,{item}", headers={"accept": "text/html"}).text
    assert "Not known: 987654321." in shown and all(f'href="/items/{row["item_id"]}"' in shown for row in answer["rows"])
    cold = purchases.get("/similar?items=never%20bought").json()
    assert cold["source"] == "content" and cold["rows"] == purchases.rows("/similar/never%20bought?exclude=nothing")
    assert movies.rows(f"/similar?items={item}&n=2&fields=year")[0]["year"]


def test_an_item_under_two_ids_counts_once_and_is_nobodys_neighbour_twice(movie_release: Built) -> None:
    opened = OpenRelease(movie_release.release)
    items = opened.item_ids[:4].tolist()
    plain = nearest(opened, "content", items[:1], 1000, None)
    first = np.arange(len(opened.item_ids), dtype=np.int32)
    other, third = (opened.number(row["item_id"]) for row in (plain[0], plain[2]))
    first[other] = first[opened.number(items[0])]
    pair = sorted([third, opened.number(plain[1]["item_id"])])
    first[pair[1]] = pair[0]
    object.__setattr__(opened.side, "twins", type(opened.side.twins)(first))
    found = nearest(opened, "content", [items[0], opened.item_id(other)], 1000, None)
    assert nearest(opened, "content", [opened.item_id(other), items[0]], 1000, None) == found
    gone = {opened.item_id(other), plain[2]["item_id"]}
    assert [(row["item_id"], row["similarity"]) for row in found] == [
        (row["item_id"], row["similarity"]) for row in plain if row["item_id"] not in gone
    ]
    assert [row["rank"] for row in nearest(opened, "content", items[:1], 5, None, plain[1:3])] == [2, 3, 3, 4, 5]
    opened.retire()
