"""Any sealed release can be asked by its id: it says what it said when it answered, and however many are asked, few are open."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import re
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from serving.past import OPEN, WANTED
from serving.response import RequestError
from serving.route import Router
from serving.routes import table
from tests.serving.conftest import clone, is_close, Server
from tests.serving.inside import Inside, inside, Reply
from warehouse import forgotten
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.pruning import drop
from warehouse.release import current_id

Own = Callable[..., tuple[Path, str]]
HTML = {b"accept": b"text/html"}
SECOND = "20990101T000000Z"
RATED = [{"item_id": item, "rating": 4} for item in (1, 2, 3, 5, 8, 13)]
READS = [
    "/", "/recommend/1", "/recommend/2?n=15", "/recommend/2?n=120", "/recommend/3?genre=Drama", "/recommend?user_id=4", "/recommend/987654", "/why/1/{listed}", "/why/1/{listed}?without=1",
    "/why/1/5?n=2", "/predict/1/{listed}", "/items/{listed}", "/similar/{listed}?n=3", "/popular", "/popular?any_genre=Drama", "/ratings/1", "/playground?rated=1:5,2:4,3:5,4:2,5:3&q=e",
    "/explore?user_id=1", "/search?q={word}", "/data",
]  # fmt: skip
OF_NOW = {"took_ms", "computed_at", "stale", "as_sealed", "releases", "next_url"}  # of the moment, or of all releases


def edition(warehouse: Warehouse, old: str, new: str, changes: dict[str, Callable[[Path], None]]) -> str:
    """Another release with some files changed, and a manifest to suit them."""
    clone(warehouse, old, new)
    release = warehouse.sealed(new)
    values = json.loads(release.manifest.read_text(encoding="utf-8"))
    for name, change in changes.items():
        path = release.folder / name
        path.parent.chmod(0o755)
        path.chmod(0o644)
        change(path)
        values["files"][name] = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    values.pop("sha256")
    release.manifest.write_text(json.dumps(values), encoding="utf-8")
    return new


def retitled(path: Path) -> None:
    """Every title anew, in the items, in what is searched and in the lists that are ready to be sent."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("items", "items_fts"):
            connection.execute(f"update {name} set title = title || ' anew'")
        for user, packed in connection.execute("select user_id, rows from ready_lists").fetchall():
            text = re.sub(r'("title":"(?:[^"\\]|\\.)*)"', r'\1 anew"', zlib.decompress(packed).decode())
            connection.execute("update ready_lists set rows = ? where user_id = ?", (zlib.compress(text.encode()), user))


def two(folder: Path) -> tuple[Warehouse, str]:
    """A warehouse with a second release, of other titles."""
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    edition(warehouse, first, SECOND, {"cinematch.db": retitled})
    return warehouse, first


def get(asked: Inside, path: str, **headers: bytes) -> Reply:
    return asked.ask("GET", path.encode(), headers={name.replace("_", "-").encode(): value for name, value in headers.items()})


def of(path: str, release: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}release={release}"


def plain(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    return {name: value for name, value in reply.json().items() if name not in OF_NOW}


def answers(asked: Inside, paths: list[str], release: str | None = None) -> dict[str, dict[str, Any]]:
    found = {path: plain(get(asked, path if release is None else of(path, release))) for path in paths}
    query = "" if release is None else f"?release={release}"
    for path, body in {"/recommend/session": {"ratings": RATED}, "/rank": {"items": [7, 50, 3, 9], "user_id": 1}}.items():
        found[path] = plain(asked.send("POST", f"{path}{query}".encode(), body))
    return found


def test_a_release_says_by_its_id_what_it_said_when_it_answered(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    with inside(folder, key) as asked:
        row = asked.rows(b"/recommend/1?n=1")[0]
        paths = [path.format(listed=row["item_id"], word=re.findall(r"\w+", row["title"])[0]) for path in READS]
        models = plain(get(asked, "/quality"))["models"]
        before = answers(asked, paths)
        assert is_close(answers(asked, paths, first), before), "of the one that answers, too"
        promote(warehouse, SECOND, reason="test")
        asked.follow()
        after = answers(asked, paths)
        by_id = answers(asked, paths, first)
        for path in before:
            assert before[path]["release"] == first and after[path]["release"] == SECOND
            assert is_close(by_id[path], before[path]), path
            if not path.startswith("/data"):
                assert before[path] != after[path], "the test can tell them apart"
        assert get(asked, of("/popular", first)).json()["as_sealed"] is True and "as_sealed" not in get(asked, "/popular").json()
        assert plain(get(asked, of("/quality", first)))["models"] == models
        for name, release in (("current", SECOND), ("latest", SECOND), (SECOND, SECOND), (first, first)):
            assert get(asked, of("/recommend/1", name)).json()["release"] == release


def test_no_later_rating_counts_in_a_release_that_is_named(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    with inside(folder, key) as asked:
        row = asked.rows(b"/recommend/1?n=1")[0]
        paths = [path.format(listed=row["item_id"], word="the") for path in READS if "{word}" not in path]
        sealed = answers(asked, paths, first)
        assert asked.send("POST", b"/ratings", {"user_id": 1, "item_id": row["item_id"], "rating": 1}).status == 200
        assert row["item_id"] not in {listed["item_id"] for listed in asked.rows(b"/recommend/1")}
        assert is_close(answers(asked, paths, first), sealed), "while it answers"
        promote(warehouse, SECOND, reason="test")
        asked.follow()
        assert row["item_id"] not in {listed["item_id"] for listed in asked.rows(b"/recommend/1")}
        assert is_close(answers(asked, paths, first), sealed)
        assert {listed["from"] for listed in asked.rows(of("/ratings/1", SECOND).encode())} == {"release"}
        new = {"user_id": 777_777, "item_id": row["item_id"], "rating": 4}
        assert asked.send("POST", b"/ratings", new).status == 200 and get(asked, "/ratings/777777").status == 200
        assert get(asked, of("/ratings/777777", "current")).status == 404, "whom a release does not know it does not know"


@pytest.mark.parametrize(
    "path", ["/recommend/1?n=3", "/recommend/1?n=3&genre=Drama", "/similar/{item}?n=3", "/popular?n=3", "/ratings/1?n=3"]
)
def test_pages_of_a_list_are_of_the_release_that_is_named(path: str, own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    with inside(folder, key) as asked:
        path = path.format(item=asked.rows(b"/popular?n=1")[0]["item_id"])
        longer = asked.rows(of(path.replace("n=3", "n=6"), first).encode())
        begun = get(asked, of(path, "current")).json()
        assert begun["next_url"].count("release=") == 1 and f"release={first}" in begun["next_url"]
        promote(warehouse, SECOND, reason="test")
        asked.follow()
        asked.send("POST", b"/ratings", {"user_id": 1, "item_id": longer[4]["item_id"], "rating": 2})
        page = get(asked, begun["next_url"]).json()
        assert page["release"] == first and page["as_sealed"] and is_close(begun["rows"] + page["rows"], longer)
        refused = get(asked, of(path, SECOND) + f"&next={begun['next']}")
        assert refused.status == 400 and first in refused.json()["error"] and SECOND in refused.json()["error"]


def test_a_user_who_was_forgotten_comes_back_through_no_release(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    promote(warehouse, SECOND, reason="test")
    with inside(folder, key) as asked:
        listed = asked.rows(of("/recommend/3?strict=1", first).encode())[0]["item_id"]
        tag = get(asked, of("/recommend/3", first)).headers[b"etag"]
        forgotten.add(warehouse, 3)
        for release in (first, SECOND, "current"):
            for path in (
                "/recommend/3?strict=1",
                "/recommend/3?strict=1&n=500",
                f"/why/3/{listed}?strict=1",
                "/ratings/3",
                f"/predict/3/{listed}?strict=1",
            ):
                assert get(asked, of(path, release)).status == 404, (path, release)
            fallback = get(asked, of("/recommend/3", release), if_none_match=tag)
            assert fallback.status == 200 and fallback.json()["is_known"] is False and fallback.json()["personalized"] is False
            assert get(asked, of("/explore?user_id=3", release)).json()["n_history"] == 0
            assert get(asked, of("/playground?user_id=3", release)).json()["n_history"] == 0
            ranked = asked.send("POST", f"/rank?release={release}".encode(), {"items": [listed], "user_id": 3}).json()
            assert ranked["is_known"] is False and ranked["n_history"] == 0
            assert 3 not in {user["user_id"] for user in get(asked, of("/", release)).json()["users"]}


def test_what_a_release_blocks_stays_blocked_in_it(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    with inside(folder, key) as asked:
        item = asked.rows(b"/recommend/1?genre=Drama&n=1")[0]["item_id"]
    ids = np.load(warehouse.sealed(first).model("items") / "item_ids.npy")

    def block(path: Path) -> None:
        np.save(path, np.flatnonzero(ids == item).astype(np.int32))

    edition(warehouse, first, SECOND, {"model/items/blocked.npy": block})
    with inside(folder, key) as asked:
        for path in ("/recommend/1?genre=Drama", "/recommend/1?genre=Drama&n=200", "/popular?any_genre=Drama&n=500"):
            listed = {release: {row["item_id"] for row in asked.rows(of(path, release).encode())} for release in (first, SECOND)}
            assert item in listed[first] and item not in listed[SECOND], path


def test_what_is_hidden_now_is_in_no_list_of_a_past_release(own_movies: Own) -> None:
    folder, key = own_movies()
    _, first = two(folder)
    with inside(folder, key) as asked:
        item = asked.rows(b"/recommend/1?n=1")[0]["item_id"]
        paths = [of(path, release) for path in ("/recommend/1", "/recommend/1?n=200", "/popular?n=500") for release in (first, SECOND)]
        assert all(item in {row["item_id"] for row in asked.rows(path.encode())} for path in paths)
        tags = {path: get(asked, path).headers[b"etag"] for path in paths}
        assert asked.send("PUT", f"/items/{item}/hidden".encode()).status == 200
        asked.look()
        for path in paths:
            reply = get(asked, path, if_none_match=tags[path])
            assert reply.status == 200 and item not in {row["item_id"] for row in reply.json()["rows"]}, path


def editions(folder: Path, n: int) -> list[str]:
    warehouse = Warehouse(folder)
    return [clone(warehouse, current_id(warehouse), f"2099020{number}T000000Z") for number in range(1, n + 1)]


def still_open(folder: Path) -> set[str]:
    """The releases of a warehouse that this process has files of."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            path = Path(os.readlink(entry))
        except OSError:
            continue
        if path.is_relative_to(folder / "releases"):
            found.add(path.relative_to(folder / "releases").parts[0])
    return found


def test_few_are_open_however_many_are_asked_and_the_one_that_answers_always_is(own_movies: Own) -> None:
    folder, key = own_movies()
    first, names = current_id(Warehouse(folder)), editions(folder, OPEN + 2)
    with inside(folder, key) as asked:
        for name in [*names, *names, first]:
            assert get(asked, of("/recommend/1?n=15", name)).json()["release"] == name
            assert len(still_open(folder)) <= OPEN + 1 and {first, name} <= still_open(folder)
        assert still_open(folder) == {first, *names[-OPEN:]}
        get(asked, of("/popular", names[-OPEN]))
        get(asked, of("/popular", names[0]))
        assert still_open(folder) == {first, names[-OPEN], *names[2 - OPEN :], names[0]}, "the one that was asked least recently made room"
        opened = asked.service.releases.past._kept[names[0]].opened
        assert get(asked, of("/popular", names[0])).status == 200 and asked.service.releases.past._kept[names[0]].opened is opened


def test_what_is_being_asked_is_not_closed_and_who_asks_for_more_is_told_when_to_come_again(own_movies: Own) -> None:
    folder, key = own_movies()
    names = editions(folder, OPEN + WANTED + 2)
    with inside(folder, key) as asked:

        def take(*wanted: str) -> list[Any]:
            async def all_at_once() -> list[Any]:
                return await asyncio.gather(*map(asked.service.releases.asked, wanted), return_exceptions=True)

            return asked._loop.run_until_complete(all_at_once())

        held = take(*names[:OPEN], names[0])
        assert held[0] is held[-1]
        refused = get(asked, of("/popular", names[OPEN]))
        assert refused.status == 503 and refused.headers[b"retry-after"] == b"1"
        assert get(asked, of("/popular", names[0])).status == 200 and get(asked, "/popular").status == 200
        while held:
            held.pop().let_go()
        assert get(asked, of("/popular", names[OPEN])).status == 200
        waited = take(*names[-WANTED - 1 :])
        assert (
            [type(one) for one in waited[-1:]] == [RequestError] and waited[-1].status == 429 and waited[-1].headers == {"retry-after": "1"}
        )
        assert [getattr(one, "status", None) for one in waited] == [None] * OPEN + [503] * (WANTED - OPEN) + [429]
        for opened in waited[:OPEN]:
            opened.let_go()
        assert get(asked, of("/popular", names[0])).status == 200


def test_a_release_that_is_removed_ends_what_it_began_and_is_closed(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, names = Warehouse(folder), editions(folder, 3)
    for name in names:
        promote(warehouse, name, reason="test")
    *removed, last = names
    with inside(folder, key) as asked:
        solver = asked.service.threads._solver

        def meanwhile(name: str, go_on: threading.Event) -> None:
            while not asked.service.threads._solves._n:
                time.sleep(0.01)
            drop(warehouse, [name])
            go_on.set()

        for name, is_read in zip(removed, (True, False)):
            if is_read:  # by the thread that solves, which has the file open then
                assert get(asked, of("/predict/1/5", name)).status == 200
            go_on = threading.Event()
            solver.submit(go_on.wait)
            remover = threading.Thread(target=meanwhile, args=(name, go_on))
            remover.start()
            reply = get(asked, of("/predict/2/5", name))
            remover.join()
            if is_read:
                assert reply.status == 200 and reply.json()["release"] == name
            for refused in ([] if is_read else [reply]) + [get(asked, of("/recommend/1", name))]:
                assert refused.status == 404 and "was promoted at" in refused.json()["error"] and "removed since" in refused.json()["error"]
            until = time.monotonic() + 10  # a thread that solves closes what it had open when it comes to it
            while still_open(folder) != {last} and time.monotonic() < until:
                time.sleep(0.01)
            assert still_open(folder) == {last}
        clone(warehouse, last, names[0])
        assert get(asked, of("/recommend/1", names[0])).status == 200
        drop(warehouse, [names[0]])
        asked.look()
        assert still_open(folder) == {last}, "nobody has to ask for it again"


@pytest.mark.parametrize("name", ["20000101T000000Z", "nowhere", "..", ".staging", "a%2Fb", "%00", "x" * 300, "é"])
def test_a_release_that_is_not_here_is_a_404_that_says_where_those_are_that_are(name: str, movies: Server) -> None:
    for path in ("/recommend/1", "/popular", "/"):
        refused = movies.get(of(path, name))
        assert refused.status_code == 404 and "/releases lists those that are here" in refused.json()["error"]
    assert movies.get(of("/popular", "")).status_code == 400


def spoil_manifest(**changed: object) -> Callable[[Warehouse, str], None]:
    def spoil(warehouse: Warehouse, name: str) -> None:
        path = warehouse.sealed(name).manifest
        values = json.loads(path.read_text(encoding="utf-8")) | changed
        values.pop("sha256", None)
        path.write_text(json.dumps(values), encoding="utf-8")

    return spoil


def without_a_table(warehouse: Warehouse, name: str) -> None:
    def removed(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("drop table item_lists")

    shutil.rmtree(warehouse.sealed(name).folder)
    edition(warehouse, current_id(warehouse), name, {"cinematch.db": removed})


def cut_short(warehouse: Warehouse, name: str) -> None:
    release = warehouse.sealed(name)
    release.database.chmod(0o644)
    os.truncate(release.database, 8192)


@pytest.mark.parametrize(("spoil", "says"), [
    (spoil_manifest(format=99), "of another version"), (spoil_manifest(newer=1), "differs in newer"), (spoil_manifest(settings={}), "manifest.json is damaged"),
    (without_a_table, "no such table: item_lists"), (cut_short, "is not as it was sealed"), (lambda warehouse, name: warehouse.sealed(name).manifest.unlink(), "has no manifest.json"),
])  # fmt: skip
def test_a_release_that_is_damaged_or_of_another_version_is_a_sentence(spoil: Callable, says: str, own_movies: Own) -> None:
    folder, key = own_movies()
    (name,) = editions(folder, 1)
    spoil(Warehouse(folder), name)
    with inside(folder, key) as asked:
        for path in ("/recommend/1", "/search?q=a"):
            refused = get(asked, of(path, name))
            assert refused.status == 409 and says in refused.json()["error"] and name in refused.json()["error"], refused.body
        assert get(asked, of("/recommend/1", name), accept=b"text/html").status == 409
        assert get(asked, "/recommend/1").status == 200 and name not in still_open(folder)


def test_one_that_is_being_built_is_said_to_be_not_sealed(own_movies: Own) -> None:
    folder, key = own_movies()
    Warehouse(folder).staged(SECOND).folder.mkdir(parents=True)
    with inside(folder, key) as asked:
        for path in (of("/recommend/1", SECOND), f"/releases/{SECOND}"):
            refused = get(asked, path)
            assert refused.status == 404 and "is being built, and not sealed yet" in refused.json()["error"]


def test_nothing_is_written_into_a_release(own_movies: Own) -> None:
    folder, key = own_movies()
    row = {"user_id": 1, "item_id": 1, "rating": 3}
    with inside(folder, key) as asked:
        for method, path, body in [
            ("POST", "/ratings", row), ("PUT", "/ratings", row), ("DELETE", "/ratings", row), ("DELETE", "/ratings/1/1", None),
            ("POST", "/releases", {}), ("POST", "/releases/current/promote", None),
        ]:  # fmt: skip
            refused = asked.send(method, of(path, "current").encode(), body)
            assert refused.status == 400 and "release" in refused.json()["error"], path
        for path in ("/releases", "/releases/current", "/health/ready", "/metrics"):
            assert get(asked, of(path, "current")).status == 400, "nor has every route a release to ask"
        assert asked.service.overlay_lag() == (0, 0)


def test_the_tag_of_an_answer_is_that_of_its_release(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    with inside(folder, key) as asked:
        for path in ("/recommend/1", "/why/1/5", "/popular", "/search?q=a", "/", "/ratings/1"):
            tags = {name: get(asked, of(path, name)).headers[b"etag"] for name in (first, SECOND)}
            assert tags[first] != tags[SECOND]
            assert get(asked, of(path, first), if_none_match=tags[first]).status == 304
            assert get(asked, of(path, "latest"), if_none_match=tags[SECOND]).status == 304
            assert get(asked, of(path, "current"), if_none_match=tags[SECOND]).json()["release"] == first


def test_each_page_says_which_release_it_is_of_and_its_links_stay_there(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse, first = two(folder)
    promote(warehouse, SECOND, reason="test")
    router = Router(table(is_read_only=True))

    def takes_release(address: str) -> bool:
        raw = urlsplit(address).path.encode()
        return router.owns(raw) and any(parameter.name == "release" for parameter in router.find("GET", raw)[0].parameters)

    with inside(folder, key) as asked:
        row = asked.rows(of("/recommend/1?n=1", first).encode())[0]
        paths = [path.format(listed=row["item_id"], word="a") for path in READS]
        for path in [*paths, "/quality", "/playground", "/explore", "/ratings/1?n=3", "/popular?n=3", "/why/1/5?strict=1"]:
            reply = get(asked, of(path, first), accept=b"text/html")
            text = reply.body.decode()
            assert reply.status == 200 and f'<a href="/releases/{first}">{first}</a> as it was sealed' in text, path
            base, (back,) = path.split("?")[0], re.findall(r'<a href="([^"]*)">Back to what is served now', text)
            assert html.unescape(back) == path and "as it was sealed" not in get(asked, path, accept=b"text/html").body.decode()
            for link in map(html.unescape, re.findall(r'<a [^>]*href="([^"]*)"', text.replace(f'href="{back}">Back', ">"))):
                whole = base + link if link.startswith("?") else link
                given = parse_qs(urlsplit(whole).query).get("release", [])
                assert given == ([first] if takes_release(whole) else []), (path, link)
            for action, form in re.findall(r'<form [^>]*action="([^"]*)"(.*?)</form>', text, re.DOTALL):
                assert form.count(f'<input type="hidden" name="release" value="{first}">') == takes_release(html.unescape(action)), (
                    path,
                    action,
                )
        assert f'href="/?release={first}"' in get(asked, f"/releases/{first}", accept=b"text/html").body.decode()


def test_every_read_that_takes_it_describes_it(movies: Server) -> None:
    document = movies.get("/openapi.json").json()
    takes = {
        operation["operationId"]: parameter
        for path in document["paths"].values()
        for operation in path.values()
        for parameter in operation["parameters"]
        if parameter["name"] == "release" and parameter["in"] == "query"
    }
    assert set(takes) == {
        "home", "recommend", "recommend_asked", "why", "predict", "item", "similar", "popular", "ratings_of_user", "playground", "explore", "search", "quality", "data",
        "rank", "recommend_session", "similar_to_set", "audience", "genres", "analytics",
    }  # fmt: skip
    assert all("as it was sealed" in parameter["description"] and parameter["schema"]["pattern"] for parameter in takes.values())
    statuses = document["paths"]["/popular"]["get"]["responses"]
    assert {"404", "409", "429", "503"} <= set(statuses)
