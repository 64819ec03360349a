"""Promoting and rolling back under a running server: no error, no mixed answer, nothing damaged, nothing left open."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.serving.conftest import clone, Server, serving
from warehouse.history import promotions
from warehouse.layout import Warehouse
from warehouse.promotion import promote, rollback
from warehouse.release import current_id


def wait_for(server: Server, release: str, seconds: float = 5.0) -> float:
    """Seconds until the server answers from a release."""
    started = time.monotonic()
    while server.get("/health/ready").json()["release"] != release:
        assert time.monotonic() - started < seconds, server.get("/health/ready").text
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_swap_under_load_gives_no_error_and_no_mix(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    second = clone(warehouse, first, "20990101T000000Z")
    with serving(folder, key=key) as server:
        stop, faults, seen = threading.Event(), [], set()
        assert server.get("/cinematch").status_code == 200

        def ask(paths: list[str]) -> None:
            import httpx

            with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
                while not stop.is_set():
                    for path in paths:
                        answer = client.get(path)
                        if answer.status_code != 200:
                            faults.append((path, answer.status_code, answer.text[:300]))
                        elif path.startswith("/recommend"):
                            seen.add(answer.json()["release"])

        mixed = [
            "/recommend/1",
            "/recommend/2?n=30",
            "/why/1/5",
            "/recommend/3?genre=Drama",
            "/cinematch/users/1.json",
            "/cinematch/items.json?_size=5",
            "/cinematch.json?sql=select+count(*)+from+users",
        ]
        threads = [threading.Thread(target=ask, args=(mixed[i % 3 :] if i % 2 else ["/recommend/4", "/popular"],)) for i in range(6)]
        for thread in threads:
            thread.start()
        times = []
        for release in (second, first, second):
            time.sleep(0.5)
            promote(warehouse, release, reason="test")
            times.append(wait_for(server, release))
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults, faults[:3]
        assert seen == {first, second}
        assert max(times) < 2.0, times  # under a second on a machine that has nothing else to do


def test_rollback_reaches_the_server_too(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    second = clone(warehouse, first, "20990101T000000Z")
    with serving(folder) as server:
        token = server.get("/recommend/1?n=3").json()["next"]
        promote(warehouse, second, reason="test")
        wait_for(server, second)
        page = server.get(f"/recommend/1?n=3&next={token}").json()
        assert page["release"] == first, "a list is continued in the release that it began in"
        assert rollback(warehouse) == first
        wait_for(server, first)
        text = server.get("/metrics").text
        assert 'cinematch_swaps_total{result="served"} 2' in text


def test_a_release_that_was_held_back_is_promoted_over_http_with_a_reason_alone(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    second = clone(warehouse, first, "20990101T000000Z", verdict={"decision": "hold back", "reason": "nDCG@10 is worse"})
    with serving(folder, key=key) as server:
        refused = server.send("POST", f"/releases/{second}/promote")
        assert refused.status_code == 409 and f"{second} is held back: nDCG@10 is worse; {first} goes on" in refused.json()["error"]
        assert current_id(warehouse) == first
        done = server.send("POST", f"/releases/{second}/promote?reason=checked")
        assert done.status_code == 200 and server.get("/health/ready").json()["release"] == second
    last = promotions(warehouse)[-1]
    assert (last["reason"], last["by"], last["verdict"]) == ("checked", "key tests", "hold back")


def damaged(kind: str, warehouse: Warehouse, release: str) -> str:
    """Point at something that must not be served; returns a word that the problem names."""
    bad = "20990101T000000Z"
    if kind == "missing":
        warehouse.current.write_text("20980101T000000Z\n")
        return "20980101T000000Z"
    if kind == "garbage":
        warehouse.current.write_bytes(b"\xff\xfe../../etc\n")
        return ""
    clone(warehouse, release, bad)
    files = warehouse.sealed(bad)
    for path in [files.folder, *files.folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if kind == "no manifest":
        files.manifest.unlink()
    elif kind == "torn manifest":
        files.manifest.write_text(files.manifest.read_text()[:500])
    elif kind == "a changed byte":
        with files.database.open("r+b") as file:
            file.seek(files.database.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 255]))
    elif kind == "cut short":
        os.truncate(files.database, files.database.stat().st_size // 2)
    elif kind == "no factors":
        (files.model("ials") / "item_factors.npy").unlink()
    warehouse.current.write_text(bad + "\n")
    return bad


@pytest.mark.parametrize("kind", ["missing", "garbage", "no manifest", "torn manifest", "a changed byte", "cut short", "no factors"])
def test_what_is_missing_or_damaged_is_refused_and_the_old_goes_on(kind: str, own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    with serving(folder) as server:
        before = server.rows("/recommend/1")
        named = damaged(kind, warehouse, first)
        deadline = time.monotonic() + 10
        while (ready := server.rows("/health/ready")[0])["problem"] is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ready["status"] == "degraded" and ready["release"] == first and named in ready["problem"]
        assert server.rows("/recommend/1") == before
        assert any("refused" in line for line in server.log)
        assert 'cinematch_swaps_total{result="refused"} 1' in server.get("/metrics").text
        warehouse.current.write_text(first + "\n")
        deadline = time.monotonic() + 10
        while (ready := server.rows("/health/ready")[0])["problem"] is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ready["status"] == "ready"


def test_fifty_swaps_leave_nothing_open(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    names = [current_id(warehouse), "20990101T000000Z"]
    clone(warehouse, *names)
    with serving(folder) as server:
        process = psutil.Process(server.process.pid)

        def swaps(n: int) -> None:
            for _ in range(n):
                names.reverse()
                warehouse.current.with_name(".new").write_text(names[0] + "\n")
                os.replace(warehouse.current.with_name(".new"), warehouse.current)
                wait_for(server, names[0])
                for path in ("/recommend/1", "/recommend/1?genre=Drama", "/cinematch/users/1.json"):
                    assert server.get(path).status_code == 200

        swaps(10)
        fds, mib = process.num_fds(), process.memory_info().rss / 2**20
        swaps(50)
        deadline = time.monotonic() + 60
        # releases that were let go a moment ago are being closed, and their Datasettes end
        while (process.num_fds() > fds + 2 or len(process.children()) > 2) and time.monotonic() < deadline:
            time.sleep(0.1)
        later_fds, later_mib = process.num_fds(), process.memory_info().rss / 2**20
        assert later_fds <= fds + 2 and later_mib < mib + 12, (fds, later_fds, mib, later_mib)
        assert len(process.children()) <= 2, "a Datasette for the release that answers, and for a while one for the one before"


def test_a_server_does_not_start_on_a_damaged_release(own_movies: Callable[..., tuple[Path, str]]) -> None:
    import subprocess
    import sys

    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    release = warehouse.sealed(current_id(warehouse))
    release.folder.chmod(0o755)
    release.database.chmod(0o644)
    os.truncate(release.database, 8192)
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--warehouse", str(folder), "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 5 and "damaged" in done.stderr and "Traceback" not in done.stderr
    shutil.rmtree(folder / "releases", ignore_errors=True)
    warehouse.current.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--warehouse", str(folder), "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 6 and "no release is promoted" in done.stderr
