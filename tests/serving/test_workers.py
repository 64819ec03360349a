"""Several processes on one port: one server to the client, whichever of them answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.conftest import clone, Server, serving
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id

WORKERS = 2


def workers(server: Server) -> list[psutil.Process]:
    """The worker processes, once all have started."""
    return wait_for(lambda: found if len(found := psutil.Process(server.process.pid).children()) == WORKERS else None)


def wait_for(value: Callable[[], object]):
    until = time.monotonic() + 20
    while not (found := value()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def asked(server: Server, path: str) -> httpx.Response:
    """An answer over a connection of its own, which any worker may get."""
    return httpx.get(server.url.rstrip("/") + path, timeout=10, trust_env=False)


def who(server: Server) -> str:
    """The worker that answers, as its request ids begin."""
    return asked(server, "/health/live").headers["x-request-id"].split("-")[0]


def test_a_rating_is_in_the_next_answer_of_every_worker(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, "--workers", str(WORKERS), key=key) as server:
        workers(server)
        wait_for(lambda: len({who(server) for _ in range(30)}) == WORKERS)
        for user in range(1, 21):
            first = asked(server, f"/recommend/{user}?n=1").json()["rows"][0]["item_id"]
            assert server.send("POST", "/ratings", {"user_id": user, "item_id": first, "rating": 4}).status_code == 200
            for _ in range(6):
                assert first not in {row["item_id"] for row in asked(server, f"/recommend/{user}?n=50").json()["rows"]}


def test_all_acknowledged_ratings_stay_when_a_worker_is_killed_and_another_starts(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, "--workers", str(WORKERS), key=key) as server:
        first, second = workers(server)
        acknowledged, is_over = [], threading.Event()
        items = [row["item_id"] for row in server.rows("/popular?n=200")]

        def write(user: int) -> None:
            for item in items:
                if is_over.is_set():
                    return
                try:
                    body = {"user_id": user, "item_id": item, "rating": 3}
                    answer = httpx.post(server.url + "ratings", json=body, headers=server.auth, timeout=10, trust_env=False)
                except httpx.TransportError:
                    continue  # it was killed with this request in its hands
                if answer.status_code == 200:
                    acknowledged.append((user, item))

        writing = [threading.Thread(target=write, args=(user,)) for user in (31, 32, 33)]
        for thread in writing:
            thread.start()
        time.sleep(0.5)
        for victim in (first, second):
            victim.kill()
            wait_for(lambda victim=victim: victim.pid not in {child.pid for child in psutil.Process(server.process.pid).children()})
            time.sleep(0.5)
        is_over.set()
        for thread in writing:
            thread.join()
        assert len(workers(server)) == WORKERS and {first.pid, second.pid}.isdisjoint(child.pid for child in workers(server))
        wait_for(lambda: _answers(server))
        for user in (31, 32, 33):
            has = {row["item_id"] for row in asked(server, f"/ratings/{user}?n=1000").json()["rows"]}
            assert {item for of, item in acknowledged if of == user} <= has
        assert acknowledged and sum("another one starts" in line for line in server.log) == 2


def _answers(server: Server) -> bool:
    try:
        return asked(server, "/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_every_worker_follows_a_promotion(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    second = clone(warehouse, first, "20990101T000000Z")
    with serving(folder, "--workers", str(WORKERS), key=key) as server:
        workers(server)
        for release in (second, first):
            promote(warehouse, release, reason="test")
            wait_for(lambda release=release: {asked(server, "/recommend/1").json()["release"] for _ in range(20)} == {release})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_end_with_the_first_process_however_that_ends(own_movies: Callable[..., tuple[Path, str]], number: int) -> None:
    folder, _ = own_movies()
    with serving(folder, "--workers", str(WORKERS)) as server:
        started = workers(server)
        server.process.send_signal(number)
        assert server.process.wait(15) == 0
        assert not any(worker.is_running() for worker in started)
    with serving(folder, "--workers", str(WORKERS)) as server:
        started = workers(server)
        server.kill()
        wait_for(lambda: not any(worker.is_running() for worker in started))


def test_a_port_that_is_taken_and_a_warehouse_without_a_release_are_said_once(
    tmp_path: Path, own_movies: Callable[..., tuple[Path, str]]
) -> None:
    folder, _ = own_movies()

    def run(warehouse: Path, port: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving", "--warehouse", str(warehouse), "--port", str(port), "--workers", str(WORKERS)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2], env={**os.environ})

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(folder, taken.getsockname()[1])
    assert ended.returncode != 0 and ended.stderr.count("cannot listen") == 1 and "Traceback" not in ended.stderr
    ended = run(tmp_path, 0)
    assert ended.returncode != 0 and ended.stderr.count("cinematch: ") == 1 and "Traceback" not in ended.stderr
