"""Ratings online: durable before the answer, in the very next list, by the batch's own function."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import Built
from tests.serving.conftest import clone, Server, serving
from tests.serving.test_swap import wait_for
from warehouse import forgotten, overlay
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id
from warehouse.sqlite import open_immutable

KILLS = int(os.environ.get("KILLS", "10"))

fresh = itertools.count(5_000_000)


def rating(user: object, item: object, value: float | None = 5.0, at: int | None = None) -> dict:
    row = {"user_id": user, "item_id": item, "rating": value, "rated_at": at}
    return {name: found for name, found in row.items() if found is not None}


def check_additive(rows: list[dict]) -> None:
    for found in rows:
        total = sum(reason["contribution"] or 0 for reason in found["reasons"]) + (found["residual"] or 0)
        assert total == pytest.approx(found["score"], rel=1e-5)


def test_a_rating_is_in_the_very_next_list(movies: Server) -> None:
    before = movies.get("/recommend/20?n=20")
    item = before.json()["rows"][0]["item_id"]
    answer = movies.send("POST", "/ratings", rating(20, item, 5.0)).json()
    assert answer["n_accepted"] == 1 and answer["sequence"] == answer["rows"][0]["seq"] > 0
    with httpx.Client(base_url=movies.url, trust_env=False) as other:
        after = other.get("/recommend/20?n=20")
    assert after.headers["etag"] != before.headers["etag"]
    rows = after.json()["rows"]
    assert item not in [found["item_id"] for found in rows]
    assert [found["score"] for found in rows] != [found["score"] for found in before.json()["rows"][1:]]
    check_additive(rows)
    assert movies.get(f"/why/20/{item}").json()["is_rated"] is True
    assert movies.rows("/ratings/20")[0] | {"from": "online", "item_id": item, "rating": 5.0} == movies.rows("/ratings/20")[0]


def test_removing_it_gives_the_old_list_back(movies: Server) -> None:
    before = movies.rows("/recommend/21?n=20")
    item = before[0]["item_id"]
    movies.send("POST", "/ratings", rating(21, item, 1.0))
    assert movies.rows("/recommend/21?n=20") != before
    assert movies.send("DELETE", f"/ratings/21/{item}").json()["rows"][0]["status"] == "deleted"
    after = movies.rows("/recommend/21?n=20")
    assert [found["item_id"] for found in after] == [found["item_id"] for found in before]
    assert [found["score"] for found in after] == pytest.approx([found["score"] for found in before], rel=1e-9)


@pytest.mark.parametrize("server", ["movies", "purchases"])
def test_online_is_batch(server: str, request: pytest.FixtureRequest) -> None:
    """A new user who is given an old one's history gets, to the float, the list that the batch stored for the old one."""
    built: Built = request.getfixturevalue({"movies": "movie_release", "purchases": "purchase_release"}[server])
    server = request.getfixturevalue(server)
    connection = open_immutable(built.release.database)
    users = [row[0] for row in connection.execute("select user_id from users order by n_ratings desc, user_id limit 12")]
    is_text = built.manifest.ids["user_id"] == "string"
    for user in users:
        history = connection.execute("select item_id, rating, weight, rated_at from ratings where user_id = ?", [user]).fetchall()
        new = f"new of {user}/%" if is_text else next(fresh)
        rows = [
            {"user_id": new, "item_id": item, "rated_at": at} | ({"weight": weight} if value is None else {"rating": value})
            for item, value, weight, at in history
        ]
        answer = server.send("POST", "/ratings", rows)
        assert answer.status_code == 200, answer.text
        stored = connection.execute(
            "select item_id, score, predicted_rating from recommendations where user_id = ? order by rank", [user]
        ).fetchall()
        found = server.rows(f"/recommend/{quote(str(new), safe='')}?n={len(stored)}")
        assert [row["item_id"] for row in found] == [row[0] for row in stored]
        assert [row["score"] for row in found] == pytest.approx([row[1] for row in stored], rel=1e-9)
        for row, (_, _, predicted) in zip(found, stored):
            assert row["predicted_rating"] == (None if predicted is None else pytest.approx(predicted, rel=1e-6))
        check_additive(found)


def test_a_new_user_works_from_the_first_rating(movies: Server) -> None:
    user = next(fresh)
    assert movies.get(f"/recommend/{user}?strict=1").status_code == 404
    item = movies.rows("/popular?n=1")[0]["item_id"]
    movies.send("POST", "/ratings", rating(user, item))
    rows = movies.rows(f"/recommend/{user}?strict=1")
    assert rows and item not in [found["item_id"] for found in rows]


def test_an_unknown_item_is_kept_and_reported(movies: Server) -> None:
    user = next(fresh)
    answer = movies.send("POST", "/ratings", [rating(user, 99_999_999), rating(user, movies.rows("/popular?n=1")[0]["item_id"])]).json()
    assert [row["is_usable"] for row in answer["rows"]] == [False, True]
    held = {row["item_id"]: row["is_usable"] for row in movies.rows(f"/ratings/{user}")}
    assert held[99_999_999] is False and movies.rows(f"/recommend/{user}")
    assert movies.get("/why/1/99999999").status_code == 404


def test_a_batch_is_refused_as_a_whole_and_names_the_row(movies: Server) -> None:
    user = next(fresh)
    for bad, says in [
        ({"rating": 9}, "rating"),
        ({"rating": None}, "rating"),
        ({"rating": "5"}, "rating"),
        ({"rating": True}, "rating"),
        ({"item_id": "x"}, "item_id"),
        ({"item_id": 1.5}, "item_id"),
        ({"item_id": 2**63}, "item_id"),
        ({"user_id": None}, "user_id"),
        ({"rated_at": -1}, "rated_at"),
        ({"rated_at": "yesterday"}, "rated_at"),
        ({"rated_at": 10**12}, "rated_at"),
        ({"weight": 2}, "weight"),
        ({"stars": 5}, "stars"),
        ({"rated_at": "2026-01-01T00:00:00"}, "rated_at"),
    ]:
        answer = movies.send("POST", "/ratings", [rating(user, 1), rating(user, 2) | bad])
        assert answer.status_code == 400 and "row 1" in answer.json()["error"] and says in answer.json()["error"], answer.text
    assert movies.get(f"/ratings/{user}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff", b"[[]]", b"NaN", b'{"ratings": 1}', b"[" * 100_000, b'{"user_id": 1' + b"0" * 5000],
)
def test_a_body_that_is_no_rating_is_refused(body: bytes, movies: Server) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = movies.client.request(method, "/ratings", content=body, headers=movies.auth)
        assert answer.status_code == 400 and answer.json()["ok"] is False, (method, answer.text)
    assert movies.client.post("/recommend/session", content=body).status_code == 400


def test_a_number_of_any_length_is_refused_and_breaks_nothing(movies: Server) -> None:
    user = next(fresh)
    for digits in ("1" + "0" * 400, "-1" + "0" * 4200, "1" + "0" * 4400, "1e400"):
        row = f'{{"item_id": 1, "rating": {digits}}}'
        with_user = row.replace("{", f'{{"user_id": {user}, ', 1)
        for method, path, body in (
            ("POST", "/ratings", with_user),
            ("PUT", "/ratings", with_user),
            ("POST", "/recommend/session", f'{{"ratings": [{row}]}}'),
        ):
            answer = movies.client.request(method, path, content=body, headers=movies.auth)
            assert answer.status_code == 400 and answer.json()["ok"] is False, (digits[:9], path, answer.text)
    for row in ({"user_id": "1" * 4400}, {"item_id": "1" * 4400}, {"user_id": 10**4200}, {"rated_at": 10**4200}):
        assert movies.send("POST", "/ratings", rating(user, 1) | row).status_code == 400


def test_a_whole_number_may_be_written_with_a_point(movies: Server) -> None:
    """As JSON and its schema have it, and pandas writes it; beyond 2**53 a float does not tell which number it is."""
    item = movies.rows("/popular?n=1")[0]["item_id"]
    sent = movies.send("POST", "/ratings", {"user_id": 24.0, "item_id": float(item), "rating": 4})
    assert [(row["user_id"], row["item_id"]) for row in sent.json()["rows"]] == [(24, item)]
    assert item in {row["item_id"] for row in movies.rows("/ratings/24")}
    for wrong in (24.5, 2.0**54, -(2.0**60)):
        assert movies.send("POST", "/ratings", {"user_id": wrong, "item_id": item, "rating": 4}).status_code == 400


def test_deleting_what_is_not_there_is_a_404_and_leaves_no_trace(movies: Server) -> None:
    user = next(fresh)
    sequence = overlay_seq(movies)
    for answer in (
        movies.send("DELETE", f"/ratings/{user}/1"),
        movies.send("DELETE", "/ratings", [{"user_id": user, "item_id": item} for item in (1, 2)]),
    ):
        assert answer.status_code == 404 and "Nothing of this request was written" in answer.json()["error"]
    assert overlay_seq(movies) == sequence
    assert movies.get(f"/recommend/{user}").json()["is_known"] is False and movies.get(f"/recommend/{user}?strict=1").status_code == 404
    movies.send("POST", "/ratings", rating(user, 1))
    answer = movies.send("DELETE", "/ratings", [{"user_id": user, "item_id": item} for item in (2, 1, 1)]).json()
    assert [row["status"] for row in answer["rows"]] == ["absent", "deleted", "absent"] and answer["n_accepted"] == 1
    assert movies.rows(f"/ratings/{user}") == [] and movies.send("DELETE", f"/ratings/{user}/1").status_code == 404


def test_what_was_deleted_can_be_rated_again_within_the_second(movies: Server) -> None:
    user = next(fresh)
    for at in (None, 1_700_000_000):
        for _ in range(2):
            assert movies.send("POST", "/ratings", rating(user, 1, 4.0, at)).json()["n_accepted"] == 1
            assert len(movies.rows(f"/ratings/{user}")) == 1
            assert movies.send("DELETE", f"/ratings/{user}/1").status_code == 200


def overlay_seq(server: Server) -> int:
    with closing(overlay.open_read_only(server.warehouse.overlay)) as connection:
        return overlay.last_seq(connection)


def test_what_arrives_later_decides_over_a_rating_that_is_dated_ahead(movies: Server) -> None:
    user, ahead = next(fresh), int(time.time()) + 80_000
    movies.send("POST", "/ratings", [rating(user, item, 5.0, ahead) for item in (1, 2, 3)])
    assert movies.send("DELETE", f"/ratings/{user}/1").json()["rows"][0]["status"] == "deleted"
    assert movies.send("DELETE", "/ratings", {"user_id": user, "item_id": 2}).json()["n_accepted"] == 1
    assert movies.send("PUT", "/ratings", rating(user, 3, 2.0)).json()["n_accepted"] == 1
    assert [(row["item_id"], row["rating"]) for row in movies.rows(f"/ratings/{user}")] == [(3, 2.0)]
    movies.send("POST", "/ratings", rating(user, 1, 3.0))
    assert {row["item_id"]: row["rating"] for row in movies.rows(f"/ratings/{user}")} == {1: 3.0, 3: 2.0}


def test_sent_again_it_is_the_same_rating(movies: Server) -> None:
    user = next(fresh)
    first = movies.send("POST", "/ratings", rating(user, 1, 4.0, 1_700_000_000)).json()
    again = movies.send("POST", "/ratings", rating(user, 1, 4.0, 1_700_000_000)).json()
    assert again["sequence"] == first["sequence"] and again["n_duplicates"] == 1
    same = movies.send("POST", "/ratings", rating(user, 1, 4.0) | {"rated_at": "2023-11-14T22:13:20Z"}).json()
    assert same["sequence"] == first["sequence"]
    conflict = movies.send("POST", "/ratings", [rating(user, 2, 4.0), rating(user, 1, 2.0, 1_700_000_000)])
    assert conflict.status_code == 409 and "row 1" in conflict.json()["error"]
    assert [row["item_id"] for row in movies.rows(f"/ratings/{user}")] == [1]
    assert movies.send("PUT", "/ratings", rating(user, 1, 2.0, 1_700_000_000)).status_code == 200
    assert movies.rows(f"/ratings/{user}")[0]["rating"] == 2.0


def test_the_later_event_wins_whatever_comes_first(movies: Server) -> None:
    early, late = next(fresh), next(fresh)
    movies.send("POST", "/ratings", [rating(early, 1, 1.0, 1000), rating(early, 1, 5.0, 2000)])
    movies.send("POST", "/ratings", [rating(late, 1, 5.0, 2000), rating(late, 1, 1.0, 1000)])
    assert movies.rows(f"/ratings/{early}")[0]["rating"] == movies.rows(f"/ratings/{late}")[0]["rating"] == 5.0


def test_pages_are_pinned_while_ratings_come_in(movies: Server) -> None:
    user = 22
    first = movies.get(f"/recommend/{user}?n=4").json()
    follows = movies.get(f"/recommend/{user}?n=4&next={first['next']}").json()["rows"]
    movies.send("POST", "/ratings", rating(user, follows[1]["item_id"], 5.0))
    now = movies.get(f"/recommend/{user}?n=4&next={first['next']}").json()["rows"]
    assert [row["item_id"] for row in now] == [row["item_id"] for row in follows if row["item_id"] != follows[1]["item_id"]]


def test_the_overlay_is_solved_in_the_new_release_after_a_swap(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    second = clone(warehouse, current_id(warehouse), "20990101T000000Z")
    with serving(folder, key=key) as server:
        item = server.rows("/recommend/1?n=1")[0]["item_id"]
        server.send("POST", "/ratings", rating(1, item))
        before = server.rows("/recommend/1")
        promote(warehouse, second, reason="test")
        wait_for(server, second)
        answer = server.get("/recommend/1").json()
        assert answer["release"] == second and answer["rows"] == before


def writer(server_url: str, key: str, user: int, acknowledged: list, stop: threading.Event) -> None:
    """Post ratings one by one until the server dies."""
    with httpx.Client(base_url=server_url, timeout=10, trust_env=False, headers={"authorization": f"Bearer {key}"}) as client:
        for item in itertools.count(1):
            if stop.is_set():
                return
            try:
                answer = client.post("/ratings", content=json.dumps(rating(user, item, 3.0, 1_700_000_000)))
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                acknowledged.append((user, item, answer.json()["sequence"]))


def kill_while_writing(folder: Path, key: str, number: int, acknowledged: list) -> None:
    """Kill a server to which four writers write, a moment after the eighth answer."""
    with serving(folder, key=key) as server:
        stop = threading.Event()
        threads = [threading.Thread(target=writer, args=(server.url, key, 10_000 + 100 * number + i, acknowledged, stop)) for i in range(4)]
        for thread in threads:
            thread.start()
        n_before, deadline = len(acknowledged), time.monotonic() + 10
        while len(acknowledged) < n_before + 8 and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(random.Random(number).random() / 20)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()


def test_no_acknowledged_rating_is_lost_when_the_server_is_killed(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    acknowledged: list = []
    for number in range(KILLS):
        kill_while_writing(folder, key, number, acknowledged)
    assert len(acknowledged) > KILLS * 4
    with serving(folder, key=key) as server:
        assert server.rows(f"/ratings/{acknowledged[0][0]}")
    with closing(overlay.open_read_only(Warehouse(folder).overlay)) as connection:
        assert connection.execute("pragma integrity_check").fetchone()[0] == "ok"
        found = {entry.seq: (entry.user_id, entry.item_id) for entry in overlay.entries(connection)}
    missing = [one for one in acknowledged if found.get(one[2]) != one[:2]]
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged ratings, {len(missing)} missing")
    assert not missing, missing[:5]


def test_two_servers_write_and_read_one_overlay(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as one, serving(folder, key=key) as other:
        acknowledged: list = []
        stop = threading.Event()
        threads = [
            threading.Thread(target=writer, args=(server.url, key, 20_000 + i, acknowledged, stop))
            for i, server in enumerate((one, other, one, other))
        ]
        for thread in threads:
            thread.start()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        numbers = [seq for _, _, seq in acknowledged]
        assert len(set(numbers)) == len(numbers) > 8
        for user in range(20_000, 20_004):
            n = sum(found[0] == user for found in acknowledged)
            assert one.get(f"/ratings/{user}").json()["n_ratings"] == other.get(f"/ratings/{user}").json()["n_ratings"] >= n


def test_a_full_disk_refuses_and_breaks_nothing(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    with serving(folder, key=key, preexec=small_files) as server:
        statuses, acknowledged = [], []
        for number in range(60):
            answer = server.send("POST", "/ratings", [rating(30_000 + number, item, 3.0, 1_700_000_000) for item in range(1, 301)])
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                acknowledged.append(30_000 + number)
            elif statuses.count(answer.status_code) > 3:
                break
        assert set(statuses) <= {200, 503, 507} and 507 in statuses and acknowledged, statuses
        assert server.get("/recommend/1").status_code == 200
        assert server.get(f"/ratings/{acknowledged[-1]}").json()["n_ratings"] == 300
    with serving(folder, key=key) as server:
        for user in acknowledged:
            assert server.get(f"/ratings/{user}").json()["n_ratings"] == 300
        assert server.send("POST", "/ratings", rating(40_000, 1)).status_code == 200
        assert os.path.getsize(Warehouse(folder).overlay) > 0


def test_a_forgotten_user_is_unknown_at_once(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    with serving(folder, key=key) as server:
        item = server.rows("/recommend/3?n=1")[0]["item_id"]
        server.send("POST", "/ratings", rating(3, item))
        assert server.get("/recommend/3").json()["is_known"] is True
        kept = {path: server.get(path).headers["etag"] for path in ("/recommend/3", f"/why/3/{item}", f"/predict/3/{item}", "/ratings/3")}
        forgotten.add(warehouse, 3)
        with closing(overlay.create(warehouse.overlay)) as connection:
            assert overlay.forget(connection, 3) == 1
        assert server.get("/recommend/3").json()["personalized"] is False
        assert server.get("/recommend/3?strict=1").status_code == server.get("/ratings/3").status_code == 404
        assert server.get(f"/why/3/{item}").json()["is_known"] is False
        for path, tag in kept.items():
            assert server.get(path, headers={"if-none-match": tag}).status_code in (200, 404), "a kept copy may not stay valid"
        assert server.send("POST", "/ratings", [rating(4, item), rating(3, item)]).status_code == 403
        assert server.send("DELETE", f"/ratings/3/{item}").status_code == 403
        assert server.get("/recommend/4").json()["is_known"] is True
