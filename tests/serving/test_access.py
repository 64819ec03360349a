"""Who may write, who may read, and how much."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Built
from tests.serving.conftest import copied, ROOT, Server, serving
from warehouse.keys import digest_of
from warehouse.layout import Warehouse

ONE = {"user_id": 1, "item_id": 1, "rating": 3.0}
WRITES = [("POST", "/ratings"), ("PUT", "/ratings"), ("DELETE", "/ratings"), ("DELETE", "/ratings/1/1"), ("POST", "/releases/x/promote")]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer two words"},
        {"x-api-key": ""},
        {"x-api-key": "ü".encode()},
        {"authorization": "Basic !!!"},
    ],
)
def test_a_write_needs_a_key(method: str, path: str, headers: dict, movies: Server) -> None:
    answer = movies.client.request(method, path, content=json.dumps(ONE), headers=headers)
    assert answer.status_code == 401 and answer.json()["ok"] is False and answer.headers["www-authenticate"] == "Bearer"


def test_a_browsers_password_does_not_write(movies: Server) -> None:
    basic = base64.b64encode(f"me:{movies.key}".encode()).decode()
    answer = movies.client.post("/ratings", content=json.dumps(ONE), headers={"authorization": f"Basic {basic}"})
    assert answer.status_code == 401


def test_both_headers_carry_the_key(movies: Server) -> None:
    row = json.dumps(ONE | {"user_id": 4_000_001})
    assert movies.client.post("/ratings", content=row, headers={"x-api-key": movies.key}).status_code == 200
    assert movies.client.post("/ratings", content=row, headers=movies.auth).status_code == 200


def test_serve_says_how_to_make_a_key_and_takes_it_at_once(movie_release: Built, tmp_path: Path) -> None:
    folder = copied(movie_release, tmp_path / "own")
    with serving(folder, key="not made yet") as server:
        refused = server.send("POST", "/ratings", ONE)
        assert refused.status_code == 403 and "no API key" in refused.json()["error"]
        lines = [server.process.stdout.readline(), server.process.stdout.readline()]
        assert "Writes are off" in lines[0]
        made = subprocess.run(lines[1].split(), capture_output=True, text=True, cwd=ROOT, timeout=30)
        key = made.stdout.strip()
        assert made.returncode == 0 and re.fullmatch(r"cm_[\w-]{43}", key)
        server.key = key
        deadline = time.monotonic() + 5
        while (answer := server.send("POST", "/ratings", ONE)).status_code == 403 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer.status_code == 200
        again = subprocess.run(lines[1].split(), capture_output=True, text=True, cwd=ROOT, timeout=30)
        assert again.returncode == 2 and "already" in again.stderr
    kept = Warehouse(folder).keys.read_text()
    assert key not in kept and digest_of(key) in kept and Warehouse(folder).keys.stat().st_mode & 0o077 == 0
    assert key not in "".join(server.log)


def test_a_key_may_come_from_a_setting(movie_release: Built, tmp_path: Path) -> None:
    folder = copied(movie_release, tmp_path / "own")
    with serving(folder, "--api-key-hashes", digest_of("secret"), key="secret") as server:
        assert server.send("POST", "/ratings", ONE).status_code == 200


def test_read_only_has_no_route_that_writes(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, "--read-only", key=key) as server:
        for method, path in WRITES:
            answer = server.send(method, path, ONE)
            assert answer.status_code in (404, 405) and answer.json()["ok"] is False
        assert not Warehouse(folder).overlay.exists()
        assert "/ratings" not in server.get("/openapi.json").json()["paths"]
        assert "read-only" in server.rows("/health/ready")[0]["writes"]
        assert server.rows("/recommend/1")
        with serving(folder, key=key) as other:
            item = server.rows("/recommend/1?n=1")[0]["item_id"]
            other.send("POST", "/ratings", {"user_id": 1, "item_id": item, "rating": 4.0})
            deadline = time.monotonic() + 5
            while server.rows("/recommend/1?n=1")[0]["item_id"] == item and time.monotonic() < deadline:
                time.sleep(0.05)
            assert server.rows("/recommend/1?n=1")[0]["item_id"] != item, "it reads what another server writes"


def test_a_private_server_asks_a_key_for_everything_but_its_health(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, "--private", key=key) as server:
        paths = [
            "/",
            "/recommend/1",
            "/popular",
            "/releases",
            "/metrics",
            "/openapi.json",
            "/cinematch",
            "/cinematch/users.json",
            "/-/metadata.json",
            "/-/settings",
            "/cinematch.json?sql=select+1",
            "/nowhere",
        ]
        for path in paths:
            refused = server.get(path)
            assert refused.status_code == 401 and refused.json() == {"ok": False, "error": refused.json()["error"], "status": 401}, path
        assert server.client.post("/recommend/session", json={"ratings": []}).status_code == 401
        assert server.get("/health/live").status_code == server.get("/health/ready").status_code == 200
        basic = base64.b64encode(f"anybody:{key}".encode()).decode()
        for headers in (server.auth, {"x-api-key": key}, {"authorization": f"Basic {basic}"}):
            for path in paths[:-1]:
                assert server.get(path, headers=headers).status_code == 200, path
        assert server.get("/recommend/1", headers=server.auth).headers["cache-control"].startswith("private")


def test_limits_are_clear(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, "--body-kib", "8", "--batch-n", "20", "--write-rate", "30", "--query-ms", "200", key=key) as server:
        large = server.client.post("/ratings", content=b" " * 10_000, headers=server.auth)
        assert large.status_code == 413 and "8 KiB" in large.json()["error"]

        def dripped():
            for _ in range(10):
                yield b" " * 1000

        assert server.client.post("/ratings", content=dripped(), headers=server.auth).status_code == 413
        many = server.send("POST", "/ratings", [ONE] * 21)
        assert many.status_code == 413 and "at most 20" in many.json()["error"]
        statuses = [server.send("POST", "/ratings", [ONE | {"user_id": 100 + i, "item_id": j} for j in range(20)]) for i in range(6)]
        refused = [answer for answer in statuses if answer.status_code == 429]
        assert refused and int(refused[0].headers["retry-after"]) >= 1 and "30 ratings a second" in refused[0].json()["error"]
        slow = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"
        assert server.get("/cinematch").status_code == 200
        started = time.monotonic()
        assert server.get("/cinematch.json", params={"sql": slow}).status_code == 400
        assert time.monotonic() - started < 5


def test_every_request_is_logged_once_with_its_id_and_no_ones_name(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        assert server.get("/recommend/1234567", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        other = server.get("/recommend/1234567", headers={"x-request-id": "no spaces please"}).headers["x-request-id"]
        server.get("/cinematch/users.json")
        server.send("POST", "/ratings", ONE)
        time.sleep(0.3)
        lines = [line for line in server.log if re.search(r" \d+\.\d{3} ms$", line)]
        assert len(lines) == 4 and "mine-1 GET /recommend/{user_id} 200" in lines[0] and other in lines[1] and "datasette 200" in lines[2]
        assert not any("1234567" in line or key in line for line in server.log)


def test_metrics_count(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        server.get("/recommend/1")
        server.get("/recommend/987654")
        server.get("/cinematch")
        server.send("POST", "/ratings", ONE)
        server.send("POST", "/ratings", ONE | {"rating": 99})
        server.client.request("INVENTED", "/recommend/1")
        text = server.get("/metrics").text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values['cinematch_requests_total{method="GET",route="/recommend/{user_id}",status="200"}'] == "2"
        assert values['cinematch_requests_total{method="GET",route="datasette",status="200"}'] == "1"
        assert values['cinematch_fallbacks_total{tier="popular"}'] == "1"
        assert values['cinematch_ratings_total{result="accepted"}'] == "1" == values['cinematch_ratings_total{result="refused"}']
        assert values["cinematch_overlay_pending"] == values["cinematch_overlay_sequence"] == "1" and values["cinematch_ready"] == "1"
        assert not any("INVENTED" in name for name in values)
        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert all(re.split(r"[{ ]", line)[0] in names for line in text.splitlines() if not line.startswith("#"))


def test_a_taken_port_is_said_in_one_line(movies: Server) -> None:
    port = movies.url.rstrip("/").rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--warehouse", str(movies.warehouse.folder), "--port", port, "--read-only"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 2 and "cannot listen" in done.stderr and "Traceback" not in done.stderr
