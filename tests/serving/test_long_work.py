"""Long answers come from a process beside the server: the same lists, and lookups go on whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.serving.conftest import is_close, Server, serving

HTML = {"accept": "text/html"}


def beside(server: Server) -> list[psutil.Process]:
    """The server's processes for long work."""
    return [child for child in psutil.Process(server.process.pid).children() if "serving.long_work" in child.cmdline()]


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)
    assert happened()


@pytest.mark.parametrize(
    "path", ["/recommend/7?n={}", "/recommend/7?genre=Drama&n={}", "/recommend/7?exclude=1,2,3&n={}", "/recommend/nobody?n={}"]
)
def test_a_long_list_begins_as_the_short_one(movies: Server, path: str) -> None:
    path = path.replace("nobody", "987654321")
    short, long = (movies.get(path.format(n)).json() for n in (100, 1000))
    assert len(long["rows"]) > 100 == len(short["rows"])
    assert is_close(long["rows"][:100], short["rows"])
    for name in ("source", "personalized", "is_known", "user_id"):
        assert long[name] == short[name]


def test_many_items_that_are_left_out_leave_the_rest_in_its_order(movies: Server) -> None:
    whole = [row["item_id"] for row in movies.rows("/recommend/7?n=1000")]
    without = whole[1:400:2]
    listed = movies.rows(f"/recommend/7?n=50&exclude={','.join(map(str, without))}")
    assert len(without) > 100 and [row["item_id"] for row in listed] == [item for item in whole if item not in without][:50]
    assert all(row["reasons"] for row in listed)


def test_a_long_session_is_the_short_one_gone_on(movies: Server) -> None:
    rows = [{"item_id": row["item_id"], "rating": 4} for row in movies.rows("/popular?n=40")]
    body = json.dumps({"ratings": rows})
    short, long = (movies.client.post(f"/recommend/session?n={n}", content=body).json() for n in (100, 1000))
    assert is_close(long["rows"][:100], short["rows"]) and len(long["rows"]) > 100
    assert long["n_history"] == short["n_history"] == 40
    padded = movies.client.post("/recommend/session?n=100", content=body + " " * 10_000).json()
    assert is_close(padded["rows"], short["rows"]), "a body is long by its bytes"
    refused = movies.client.post("/recommend/session?n=1000", content=b'{"ratings": [{"item_id": "x", "rating": 4}]}')
    assert refused.status_code == 400 and "item_id" in refused.json()["error"]


def test_a_long_list_knows_a_rating_at_once_and_has_its_page(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        first = server.rows("/recommend/7?n=1000")[0]
        assert server.send("POST", "/ratings", {"user_id": 7, "item_id": first["item_id"], "rating": 5}).status_code == 200
        listed = server.get("/recommend/7?n=1000").json()
        assert first["item_id"] not in {row["item_id"] for row in listed["rows"]}
        page = server.get("/recommend/7?n=1000", headers=HTML)
        assert page.status_code == 200 and page.text.count('<span class="rank">') == len(listed["rows"])


def test_the_process_starts_when_it_is_needed_again_after_its_end_and_goes_with_the_server(
    own_movies: Callable[..., tuple[Path, str]],
) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        assert server.get("/recommend/7?n=100").status_code == 200 and not beside(server)
        long = server.rows("/recommend/7?n=1000")
        (process,) = beside(server)
        assert process.nice() > 0
        process.kill()
        wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE)
        assert server.rows("/recommend/7?n=1000") == long, "one that ended while nothing was asked is started again"
        (process,) = beside(server)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(Exception, match="timed out"):
            server.client.get("/recommend/7?n=1000", timeout=0.5)
        assert server.get("/recommend/8?n=100").status_code == 200, "lookups do not wait for it"
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: any("ended while it worked" in line for line in server.log))
        assert server.rows("/recommend/7?n=1000") == long
        (process,) = beside(server)
        server.kill()
        wait_for(lambda: not process.is_running())
