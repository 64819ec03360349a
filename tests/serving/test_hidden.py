"""Items that their owner hides: gone from everything that lists items, at once and in the next release, until they are shown again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.run import run_step
from tests.conftest import Built, small_settings
from tests.serving.conftest import serving
from tests.serving.inside import Inside, inside
from warehouse import hidden, journal, parquet
from warehouse.layout import Warehouse

Own = Callable[..., tuple[Path, str]]
USER = b"/recommend/1"
LONG = 150  # rows that a process beside the server makes


def items_of(server: Inside, path: bytes) -> list[int]:
    return [row["item_id"] for row in server.rows(path)]


def everywhere(server: Inside, item: int, title: str) -> dict[str, list[int]]:
    """Every list of items that a server gives, by what it is."""
    session = json.dumps({"ratings": [{"item_id": other, "rating": 4.5} for other in items_of(server, b"/popular?n=3") if other != item]})
    near = items_of(server, b"/popular?n=2")[1]
    word = title.split()[0].encode()
    return {
        "stored": items_of(server, USER + b"?n=5"),
        "a page": items_of(server, USER + b"?n=20"),
        "long": items_of(server, b"/recommend/1?n=%d" % LONG),
        "filtered": items_of(server, USER + b"?n=20&exclude=999999"),
        "of a stranger": items_of(server, b"/recommend/99999999"),
        "session": [row["item_id"] for row in server.ask("POST", b"/recommend/session?n=50", session.encode()).json()["rows"]],
        "popular": items_of(server, b"/popular?n=100"),
        "popular, filtered": items_of(server, b"/popular?n=100&year_from=1900"),
        "neighbours": items_of(server, b"/similar/%d?n=10" % near),
        "all neighbours": items_of(server, b"/similar/%d?n=300" % near),
        "of several": items_of(server, b"/similar?items=%d,%d&n=300" % (near, items_of(server, b"/similar/%d?n=1" % near)[0])),
        "found": items_of(server, b"/search?n=50&q=" + word),
        "explored": [row["item_id"] for listed in server.rows(b"/explore?user_id=1&n=20") for row in listed["items"]],
        "first page": [row["item_id"] for row in server.ask("GET", b"/").json()["popular"]],
    }


def test_an_item_is_gone_from_every_list_and_comes_back(own_movies: Own) -> None:
    with inside(*own_movies()) as server:
        (first,) = server.rows(USER + b"?n=1")
        item, title = first["item_id"], first["title"]
        before = everywhere(server, item, title)
        assert all(item in before[of] for of in ("stored", "a page", "long", "filtered", "found", "explored"))
        (row,) = server.send("PUT", b"/items/%d/hidden?reason=a+complaint" % item).json()["rows"]
        assert (row["item_id"], row["status"], row["reason"], row["by"]) == (item, "hidden", "a complaint", "key tests")
        after = everywhere(server, item, title)
        for of, items in after.items():
            assert item not in items, of
        for of in ("stored", "a page", "long", "filtered", "popular"):
            assert len(after[of]) >= len(before[of]), f"{of} is filled from below"
        assert after["a page"][:19] == before["a page"][1:], "and all else stands as it stood"
        for path in (b"/items/%d", b"/similar/%d", b"/why/1/%d", b"/predict/1/%d"):
            reply = server.ask("GET", path % item)
            assert reply.status == 404 and "is hidden" in reply.json()["error"], path
        ranked = server.send("POST", b"/rank", {"user_id": 1, "items": [item, before["stored"][1]]}).json()
        assert ranked["excluded"] == [item] and [row["item_id"] for row in ranked["rows"]] == [before["stored"][1]]
        assert [one["item_id"] for one in server.rows(b"/hidden")] == [item]
        (row,) = server.send("DELETE", b"/items/%d/hidden" % item).json()["rows"]
        assert row["status"] == "shown" and everywhere(server, item, title) == before and server.rows(b"/hidden") == []


def test_a_list_that_a_client_keeps_counts_no_more(own_movies: Own) -> None:
    with inside(*own_movies()) as server:
        kept = server.ask("GET", USER)
        tag = {b"if-none-match": kept.headers[b"etag"]}
        assert server.ask("GET", USER, headers=tag).status == 304
        server.send("PUT", b"/items/%d/hidden" % kept.json()["rows"][0]["item_id"])
        assert server.ask("GET", USER, headers=tag).status == 200
        popular = server.ask("GET", b"/popular", headers={b"if-none-match": kept.headers[b"etag"]})
        server.send("PUT", b"/items/%d/hidden" % popular.json()["rows"][0]["item_id"])
        assert server.ask("GET", b"/popular", headers={b"if-none-match": popular.headers[b"etag"]}).status == 200


def test_the_reasons_of_what_moved_up_are_computed_and_sum_to_its_score(own_movies: Own) -> None:
    with inside(*own_movies()) as server:
        first, second, *_ = server.rows(USER)
        server.send("PUT", b"/items/%d/hidden" % first["item_id"])
        now = server.rows(USER)[0]
        assert now["item_id"] == second["item_id"] and now["score"] == pytest.approx(second["score"], rel=1e-5)
        assert sum(reason["contribution"] or 0.0 for reason in now["reasons"]) + (now["residual"] or 0.0) == pytest.approx(
            now["score"], rel=1e-5
        )
        assert server.ask("GET", b"/why/1/%d" % second["item_id"]).json()["score"] == pytest.approx(second["score"], rel=1e-5)


def test_another_process_hides_it_too(own_movies: Own) -> None:
    folder, key = own_movies()
    with inside(folder, key) as server:
        item = items_of(server, USER)[0]
        hidden.note(Warehouse(folder), item, is_hidden=True, by="another", reason="")
        server.follow()
        assert item not in items_of(server, USER)
        assert hidden.note(Warehouse(folder), item, is_hidden=True, by="a third")["by"] == "another", "twice is once"
        assert len(journal.read(Warehouse(folder).hidden)) == 1


def test_many_may_hide_and_show_one_item_at_once(own_movies: Own) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server, ThreadPoolExecutor(4) as pool:
        methods = ["PUT", "DELETE"] * 30
        statuses = Counter(
            pool.map(lambda method: server.client.request(method, "/items/1/hidden", headers=server.auth).status_code, methods)
        )
        assert set(statuses) <= {200, 404} and statuses[200] >= 30, "a DELETE may find nothing; no PUT fails"
        noted = [note["is_hidden"] for note in journal.read(Warehouse(folder).hidden)]
        assert noted == [place % 2 == 0 for place in range(len(noted))], "each note changes what was"


def test_what_is_refused_notes_nothing(own_movies: Own) -> None:
    folder, key = own_movies()
    with inside(folder, key) as server:
        for method, path, status in (
            ("PUT", b"/items/987654321/hidden", 404),
            ("PUT", b"/items/x/hidden", 400),
            ("DELETE", b"/items/1/hidden", 404),
        ):
            assert server.ask(method, path).status == status, path
        assert server.ask("PUT", b"/items/1/hidden", headers={b"authorization": None}).status == 401
        assert not Warehouse(folder).hidden.exists()


def test_a_list_that_is_lost_or_damaged_shows_nothing_again(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).hidden
    with inside(folder, key) as server:
        item = items_of(server, USER)[0]
        server.send("PUT", b"/items/%d/hidden" % item)
        kept = path.read_bytes()
        for damage in (path.unlink, lambda: path.write_text('{"is_hidden": true}\n')):
            damage()
            server.follow()
            assert item not in items_of(server, USER) and any("hidden items" in said for said in server.service.problems())
        path.write_bytes(kept)
        server.follow()
        assert item not in items_of(server, USER) and server.service.problems() == []


def test_the_next_release_does_not_list_it(movie_release: Built, copy_warehouse: Callable) -> None:
    built: Built = copy_warehouse(movie_release)
    hidden.note(built.warehouse, 1, is_hidden=True, by="key tests", reason="")
    hidden.note(built.warehouse, 2, is_hidden=True, by="key tests", reason="")
    hidden.note(built.warehouse, 2, is_hidden=False, by="key tests")
    same = {name: built.manifest.settings[name] for name in ("source", "scale", "seed")}
    run_step("ingest", built.warehouse, "next", small_settings(built.warehouse.folder, **same))
    items = parquet.read(built.warehouse.staged("next").table("items"), ["item_id", "is_blocked"]).to_pylist()
    assert [row["item_id"] for row in items if row["is_blocked"]] == [1]
