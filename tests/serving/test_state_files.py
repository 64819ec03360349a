"""Files beside the release that are damaged, gone, replaced or of something else: lookups go on, writes stop, /health/ready says why."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.serving.conftest import clone, serving
from tests.serving.inside import Inside, inside
from warehouse import catalog, forgotten, overlay
from warehouse.layout import Warehouse
from warehouse.online import archive
from warehouse.promotion import promote
from warehouse.release import current_id

Own = Callable[..., tuple[Path, str]]
RATING = {"user_id": 7_000_001, "item_id": 3, "rating": 4.0}


def ready(server: Inside) -> dict:
    server.look()
    return server.rows(b"/health/ready")[0]


def assert_reads_only(server: Inside, named: str) -> None:
    """Lookups are answered, writes refused, and the file is named."""
    found = ready(server)
    assert found["status"] == "degraded" and named in found["problem"] and named in found["writes"], found
    assert len(server.rows(b"/recommend/1?n=5")) == 5
    refused = server.send("POST", b"/ratings", RATING)
    assert refused.status == 503 and named in refused.json()["error"]


def assert_writes(server: Inside, user: int = 7_000_002) -> None:
    assert ready(server)["status"] == "ready", ready(server)
    assert server.send("POST", b"/ratings", {**RATING, "user_id": user}).status == 200
    assert server.rows(b"/ratings/%d" % user)[0]["rating"] == 4.0


def filled(path: Path, n: int = 400) -> None:
    with closing(overlay.create(path)) as connection:
        connection.execute("begin")
        for number in range(n):
            overlay.append(connection, overlay.Entry(0, 1 + number % 50, 1 + number % 90, 3.0, 1.0, 1_600_000_000 + number, 1_700_000_000))
        connection.execute("commit")


def flipped(path: Path, n: int = 64) -> None:
    draw, content = random.Random(n), bytearray(path.read_bytes())
    for _ in range(n):
        content[draw.randrange(100, len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("create table ratings (seq, who); pragma user_version = 1")


DAMAGE = {
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(20_000)),
    "zeros": lambda path: path.write_bytes(bytes(20_000)),
    "text": lambda path: path.write_text("hello\n" * 2_000),
    "cut short": lambda path: (filled(path), os.truncate(path, 9_000)),
    "flipped bits": lambda path: (filled(path), flipped(path)),
    "another program's": foreign,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_server_starts_beside_an_overlay_that_cannot_be_read_and_goes_on_when_it_is_mended(damage: Callable, own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).overlay
    damage(path)
    with inside(folder, key) as server:
        assert_reads_only(server, "overlay.db")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        server.retry()
        assert_writes(server)


def test_an_overlay_that_is_damaged_under_the_server_is_left_aside(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).overlay
    filled(path, 4_000)
    with inside(folder, key) as server:
        assert server.rows(b"/ratings/1")
        with path.open("r+b") as file:
            file.seek(8_192)
            file.write(random.Random(2).randbytes(path.stat().st_size - 8_192))
        for user in range(1, 51):
            assert server.ask("GET", b"/recommend/%d" % user).status == server.ask("GET", b"/ratings/%d" % user).status == 200
        assert_reads_only(server, "overlay.db")
        server.retry()
        assert_reads_only(server, "overlay.db")


def test_nothing_is_acknowledged_that_goes_to_a_file_that_is_gone(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).overlay
    with inside(folder, key) as server:
        assert_writes(server)
        path.rename(path.with_name("away"))
        assert server.send("POST", b"/ratings", RATING).status == 503, "before the server has looked"
        assert_reads_only(server, "overlay.db is gone")
        assert server.rows(b"/ratings/7000002"), "what was acknowledged is still shown"
        path.with_name("away").rename(path)
        server.retry()
        assert_writes(server, 7_000_003)


def test_an_overlay_that_was_put_in_place_of_ours_is_the_one_that_is_written(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).overlay
    with inside(folder, key) as server:
        assert_writes(server)
        other = path.with_name("other.db")
        filled(other, 10)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        os.replace(other, path)
        assert server.send("POST", b"/ratings", RATING).status == 503
        assert server.ask("GET", b"/ratings/7000001").status == 404
        assert_writes(server, 7_000_004)
    with inside(folder, key) as server:
        assert server.rows(b"/ratings/7000004") and server.ask("GET", b"/ratings/7000001").status == 404


def test_an_overlay_of_before_gets_an_id_and_keeps_its_rows(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).overlay
    filled(path, 10)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("drop table identity; pragma application_id = 0")
    with inside(folder, key) as server:
        assert {row["from"] for row in server.rows(b"/ratings/1")} == {"release", "online"}
        assert_writes(server)
        assert len(server.service.users.online._reader.identity) == 16


@pytest.mark.parametrize("content", [b"", b"{\n", b"\xff\xfe\n\n", b"[]\n", b'{"salt": 1}\n', None])
def test_a_damaged_list_of_the_forgotten_stops_writes_and_forgets_no_one_who_was_forgotten(content: bytes | None, own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).forgotten
    forgotten.add(Warehouse(folder), 3)
    whole = path.read_bytes()
    with inside(folder, key) as server:
        assert server.ask("GET", b"/recommend/3?strict=1").status == 404
        path.unlink() if content is None else path.write_bytes(content)
        assert_reads_only(server, "forgotten.jsonl")
        assert server.ask("GET", b"/recommend/3?strict=1").status == 404
        path.write_bytes(whole)
        assert_writes(server)
    if content is not None:
        path.write_bytes(content)
        with inside(folder, key) as server:
            assert_reads_only(server, "forgotten.jsonl")


def test_of_a_torn_list_whoever_can_be_read_stays_forgotten(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).forgotten
    for user in (3, 4):
        forgotten.add(Warehouse(folder), user)
    path.write_bytes(path.read_bytes()[:-40])
    with inside(folder, key) as server:
        assert server.ask("GET", b"/recommend/3?strict=1").status == 404
        assert_reads_only(server, "forgotten.jsonl")


def test_damaged_keys_let_no_one_in_and_a_damaged_pointer_keeps_the_last_release(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    warehouse.keys.write_bytes(b"\xff{")
    warehouse.current.write_bytes(b"\xff../../etc\n")
    with inside(folder, key) as server:
        found = ready(server)
        assert found["status"] == "degraded" and "api_keys.json" in found["problem"] and str(warehouse.current) in found["problem"]
        assert server.ask("GET", b"/recommend/1").json()["release"] == first
        assert server.send("POST", b"/ratings", RATING).status in (401, 403)


def test_a_damaged_catalogue_is_said_and_stops_nothing(own_movies: Own) -> None:
    folder, key = own_movies()
    path = Warehouse(folder).catalog
    path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096))
    with inside(folder, key) as server:
        found = ready(server)
        assert found["status"] == "degraded" and "catalog.db" in found["problem"] and "makes it anew" in found["problem"]
        assert len(server.rows(b"/recommend/1?n=5")) == 5 and server.send("POST", b"/ratings", RATING).status == 200
        catalog.rebuild(Warehouse(folder))
        assert_writes(server)


def test_a_release_of_another_warehouse_hides_no_rating_that_was_acknowledged(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    given = json.loads(warehouse.sealed(current_id(warehouse)).manifest.read_text())["input"]
    other = clone(
        warehouse, current_id(warehouse), "20990101T000000Z", input={**given, "overlay_id": "0123456789abcdef", "overlay_seq": 1_000}
    )
    promote(warehouse, other, reason="carried here")
    with inside(folder, key) as server:
        assert_writes(server)
        assert server.ask("GET", b"/recommend/7000002").json()["is_known"] is True


def test_a_release_that_comes_back_has_the_ratings_that_the_overlay_was_emptied_of(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    other = clone(warehouse, first, "20990101T000000Z")
    with inside(folder, key) as server:
        assert_writes(server)
    archive(warehouse)
    with closing(overlay.create(warehouse.overlay)) as connection:
        assert overlay.compact(connection, upto=1) == 1
    promote(warehouse, other, reason="from a backup")
    with inside(folder, key) as server:
        assert server.rows(b"/ratings/7000002")[0]["from"] == "online"


def test_numbers_go_on_where_the_overlay_was_begun_anew(own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    filled(warehouse.overlay, 30)
    archive(warehouse)
    for path in folder.glob("overlay.db*"):
        path.unlink()
    with inside(folder, key) as server:
        assert server.send("POST", b"/ratings", RATING).json()["sequence"] == 31


def test_what_is_copied_after_a_stop_is_all_there_is(own_movies: Own, tmp_path: Path) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        assert server.send("POST", "/ratings", RATING).status_code == 200 and server.rows("/ratings/7000001")
    copied = shutil.copy(Warehouse(folder).overlay, tmp_path / "alone.db")
    with closing(overlay.open_read_only(Path(copied))) as connection:
        assert [entry.user_id for entry in overlay.entries(connection)] == [7_000_001]
