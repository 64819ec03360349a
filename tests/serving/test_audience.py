"""Who has an item in their list: as the release has it, without those who were forgotten, and for whom it may be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import Built
from tests.serving.conftest import Server
from tests.serving.inside import inside
from tests.serving.test_keys import bearer, SECRET, user_token
from warehouse import forgotten
from warehouse.layout import Warehouse
from warehouse.sqlite import open_immutable

LISTS = "select rank, user_id, item_id, score, predicted_rating, source from recommendations where item_id = ? order by rank, score desc, user_id"


@pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_an_audience_is_whoever_has_the_item_in_their_list(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, connection = request.getfixturevalue(served), open_immutable(request.getfixturevalue(built).release.database)
    items = connection.execute("select item_id, n_lists from item_lists order by n_lists desc, item_id").fetchall()
    for item, n_lists in [*items[:3], items[-1]]:
        path = f"/audience/{quote(str(item), safe='')}"
        expected = [dict(row) for row in connection.execute(LISTS, [item])]
        answer = server.get(f"{path}?n=1000").json()
        assert [{name: row[name] for name in expected[0]} for row in answer["rows"]] == expected
        assert (answer["item_id"], answer["n_lists"], len(expected)) == (item, n_lists, n_lists)
        assert server.rows(f"{path}?n=2") == answer["rows"][:2]
        user = quote(str(expected[0]["user_id"]), safe="")
        assert server.rows(f"/recommend/{user}?n={expected[0]['rank']}")[-1]["item_id"] == item or not answer["rows"][0]["is_current"]


def test_an_item_that_nobody_gets_and_one_that_is_not_there(movies: Server, movie_release: Built) -> None:
    nobodys = "select item_id from items where item_id not in (select item_id from item_lists)"
    (item,) = open_immutable(movie_release.release.database).execute(nobodys).fetchone()
    answer = movies.get(f"/audience/{item}").json()
    assert answer["rows"] == [] and answer["n_lists"] == 0
    assert movies.get("/audience/999999999").status_code == 404 and movies.get("/audience/x").status_code == 400


def test_who_was_forgotten_is_in_no_audience_and_who_rated_since_is_marked(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with inside(folder, key) as asked:
        item = asked.rows(b"/recommend/3?n=1")[0]["item_id"]
        path = f"/audience/{item}?n=5".encode()
        before = asked.rows(path)
        assert len(before) == 5 and all(row["is_current"] for row in before)
        gone, rated = before[1]["user_id"], before[2]["user_id"]
        forgotten.add(Warehouse(folder), gone)
        other = asked.rows(f"/recommend/{rated}?n=2".encode())[1]["item_id"]
        assert asked.send("POST", b"/ratings", {"user_id": rated, "item_id": other, "rating": 1}).status == 200
        reply = asked.ask("GET", path)
        after = reply.json()["rows"]
        assert b"no-store" in reply.headers[b"cache-control"] and len(after) == 5
        assert after[:4] == [row | {"is_current": row["user_id"] != rated} for row in before if row["user_id"] != gone]


def test_an_item_under_two_ids_has_the_audience_of_both(
    own_movies: Callable[..., tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = own_movies()
    with inside(folder, key) as asked:
        ids = [row["item_id"] for row in asked.rows(b"/recommend/3?n=2")]
        alone = [asked.ask("GET", f"/audience/{item}?n=1000".encode()).json() for item in ids]
        monkeypatch.setattr(type(asked.service.releases.current), "same", lambda opened, items: frozenset(ids))
        both = asked.ask("GET", f"/audience/{ids[0]}?n=1000".encode()).json()
    expected = sorted((row for one in alone for row in one["rows"]), key=lambda row: (row["rank"], -row["score"], row["user_id"]))
    assert both["rows"] == expected[:1000] and both["n_lists"] == sum(one["n_lists"] for one in alone)


def test_an_audience_takes_a_key_where_reads_do_and_no_users_token_reads_it(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with inside(folder, key, private=True, user_token_secret=SECRET) as asked:
        assert asked.ask("GET", b"/audience/1").status == 200
        assert asked.ask("GET", b"/audience/1", headers={b"authorization": None}).status == 401
        assert asked.ask("GET", b"/audience/1", headers=bearer(user_token(1))).status == 403


def test_lists_that_cannot_be_read_through_in_time_are_said(
    own_movies: Callable[..., tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = own_movies()
    monkeypatch.setattr("serving.lookups.search._STEPS", 1)
    with inside(folder, key, query_ms=1) as asked:
        reply = asked.ask("GET", b"/audience/1")
        assert reply.status == 503 and "longer than 1 ms (query_ms)" in reply.json()["error"]
