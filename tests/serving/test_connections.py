"""Connections, heads and bodies: bounded in number, size and time, and whoever asks is answered all the same."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import uvicorn

from serving import connections
from serving.connections import WAIT_S
from tests.serving.conftest import Server, serving

HALF_HEAD = b"GET /recommend/1 HTTP/1.1\r\nhost: localhost\r\nx-half: "
WHOLE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


@contextmanager
def connected(server: Server, data: bytes = b"") -> Iterator[socket.socket]:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
        wire.sendall(data)
        yield wire


def rest(wire: socket.socket) -> bytes:
    """All that comes until the server closes; a reset is one too."""
    found = b""
    try:
        while data := wire.recv(1 << 16):
            found += data
    except ConnectionResetError:
        pass
    return found


def test_silence_makes_room_for_those_who_ask(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    with serving(folder, "--address-connections", "10") as server, ExitStack() as stack:
        silent = [stack.enter_context(connected(server, HALF_HEAD if i % 2 else b"")) for i in range(9)]
        answered = stack.enter_context(connected(server, WHOLE))
        assert b"200 OK" in answered.recv(1 << 12)
        for _ in range(5):  # each on a connection of its own, beside ten that take all the room
            with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as client:
                assert client.get("/recommend/1").status_code == 200
        assert rest(silent[0]) == b"", "the one that came first made room"


def test_what_is_silent_or_half_sent_is_closed_in_time(movies: Server) -> None:
    begun = [b"", b"GET", HALF_HEAD, WHOLE + HALF_HEAD, b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf"]
    with ExitStack() as stack:
        started = time.monotonic()
        wires = [stack.enter_context(connected(movies, data)) for data in begun]
        for wire in wires:
            wire.settimeout(3 * WAIT_S)
            rest(wire)
        assert time.monotonic() - started < 3 * WAIT_S


def test_what_takes_nothing_of_its_answer_is_cut_and_what_takes_it_slowly_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 4.0)
    piece, ended = b"a" * (1 << 20), threading.Semaphore(0)

    async def large(scope: dict, receive: Callable, send: Callable) -> None:
        """More than the system keeps on the way to a reader, in pieces that wait for each other."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(24):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            ended.release()

    crowd = connections.Connections(most=10, each=10)
    config = uvicorn.Config(large, http=partial(connections.Connection, connections=crowd), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = threading.Thread(target=server.run, args=([listening],))
        running.start()
        try:
            with ExitStack() as stack:
                deaf, slow = (stack.enter_context(socket.create_connection(listening.getsockname(), timeout=10)) for _ in range(2))
                for wire in (deaf, slow):
                    wire.sendall(WHOLE)
                got, started = len(slow.recv(1000)), time.monotonic()
                while got <= 24 << 20 and (data := slow.recv(1 << 20)):
                    got += len(data)
                    time.sleep(0.2)
                assert got > 24 << 20 and time.monotonic() - started > connections.UNREAD_S
                assert ended.acquire(timeout=10) and ended.acquire(timeout=10), "the one that was never read holds nothing any more"
        finally:
            server.should_exit = True
            running.join(10)
    assert not running.is_alive()


def test_who_asks_much_at_once_and_leaves_is_no_error(movies: Server) -> None:
    before = len(movies.log)
    for _ in range(5):
        with connected(movies, b"GET /recommend/1 HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2000):
            time.sleep(0.3)  # the server waits to go on sending by then
    assert movies.get("/recommend/1").status_code == 200
    assert "Traceback" not in "".join(movies.log[before:])


@pytest.mark.parametrize("head", [
    b"x-big: " + b"a" * 40_000 + b"\r\n", b"x-many: a\r\n" * 150, b"x-never-ends: " + b"a" * 3_000_000,
])  # fmt: skip
def test_a_head_is_bounded(head: bytes, movies: Server) -> None:
    ends = b"" if b"never" in head else b"\r\n"
    with connected(movies) as wire:
        try:
            wire.sendall(b"GET /recommend/1 HTTP/1.1\r\nhost: localhost\r\n" + head + ends)
            answer = rest(wire)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert answer == b"" or b" 431 " in answer.split(b"\r\n")[0], answer[:200]
    if ends:
        assert answer, "a whole head is told why"


@pytest.mark.parametrize(
    "sent", [b"no HTTP at all\r\n\r\n", b"GET /recommend/1\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xfc"]
)
def test_what_is_not_http_of_today_is_refused_in_json(sent: bytes, movies: Server) -> None:
    with connected(movies, sent) as wire:
        head, _, body = rest(wire).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"content-type: application/json" in head
    assert json.loads(body) == {
        "ok": False,
        "error": "Invalid HTTP request received; expected HTTP/1.1, and an address of ASCII (ü is %C3%BC)",
        "status": 400,
    }


def test_an_older_client_is_answered(movies: Server) -> None:
    with connected(movies, b"GET /health/live HTTP/1.0\r\n\r\n") as wire:
        assert b" 200 OK" in rest(wire)


def test_a_body_that_is_too_large_is_told_so_and_not_cut_off(movies: Server) -> None:
    large = b" " * (10 << 20)
    for method, path, status in (
        ("POST", "/ratings", 413),
        ("POST", "/recommend/session", 413),
        ("GET", "/cinematch", 413),
        ("POST", "/cinematch", 405),
    ):
        answer = movies.client.request(method, path, content=large, headers=movies.auth)
        assert answer.status_code == status and answer.json()["status"] == status
    assert movies.client.post("/ratings", content=large).status_code == 401


def test_what_strangers_send_is_small_before_it_is_read(movies: Server) -> None:
    rows = ",".join('{"item_id": 1, "rating": 3}' for _ in range(20_000))
    answer = movies.client.post("/recommend/session", content='{"ratings": [' + rows + "]}")
    assert answer.status_code == 413 and "KiB" in answer.json()["error"]
    assert movies.get("/recommend/1?exclude=" + ",".join(map(str, range(1001)))).status_code == 400
    assert movies.get("/recommend/1?exclude=" + ",".join(map(str, range(1000)))).status_code == 200
    assert movies.get("/recommend/1?exclude=" + "1" * 20_000).status_code == 414


def test_repeated_words_are_searched_for_once(movies: Server) -> None:
    title = movies.rows("/recommend/1?n=1")[0]["title"]
    word = title.split()[-2] if len(title.split()) > 1 else title
    once, often = movies.rows(f"/search?q={word}&n=1000"), movies.rows("/search?q=" + "+".join([word] * 30) + "&n=1000")
    assert once == often and once


def test_a_client_that_asks_on_and_reads_nothing_fills_no_memory(own_movies: Callable[..., tuple[Path, str]]) -> None:
    asked = b"GET /recommend/1?n=50 HTTP/1.1\r\nhost: localhost\r\n\r\n"
    folder, _ = own_movies()
    with serving(folder) as server:
        assert server.get("/recommend/1?n=50").status_code == 200
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        with ExitStack() as stack:
            for _ in range(3):
                wire = stack.enter_context(connected(server))
                wire.settimeout(0.5)
                with pytest.raises(TimeoutError):  # nobody takes any more of it
                    for _ in range(2_000):
                        wire.sendall(asked * 1000)
                assert server.get("/recommend/2").status_code == 200
            assert process.memory_info().rss - before < 100 << 20


def test_a_write_behind_reads_that_were_asked_at_once_is_read_whole(movies: Server) -> None:
    """Reading pauses while requests wait; the body of the last of them has to come all the same."""
    ratings = json.dumps([{"user_id": 990_001, "item_id": 50, "rating": 4.5}] * 900).encode()
    ask = b"GET /recommend/990001?n=1 HTTP/1.1\r\nhost: localhost\r\n\r\n"
    head = b"POST /ratings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    with connected(movies, ask * 50 + head % (movies.key.encode(), len(ratings)) + ratings[:100]) as wire:
        time.sleep(0.2)
        wire.sendall(ratings[100:] + ask.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        found = rest(wire)
    assert found.count(b"HTTP/1.1 200 OK") + found.count(b"HTTP/1.1 201 Created") == 52 and found.count(b'"is_known":true') == 1
