"""Requests of strangers: none ends the server, shows its insides, or is taken for an error of ours."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from tests.serving.conftest import Server, serving

HTML = {"accept": "text/html,*/*;q=0.8"}
COMPOSE_MIB = 512

HEAVY = [
    "select length(hex(randomblob(2e8)))", "select zeroblob(1e8)", "select hex(zeroblob(4.5e8))", "select randomblob(9e8)",
    "with recursive c(x) as (select 1 union all select x + 1 from c limit 1000) select x, hex(zeroblob(50000)) as wide from c",
    "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c",
    "with recursive c(x) as (select 1 union all select x + 1 from c limit 3000) select hex(randomblob(100000)) as r from c order by r limit 1",
]  # fmt: skip


def own(server: Server) -> list[psutil.Process]:
    """The server's process and those that it began."""
    process = psutil.Process(server.process.pid)
    return [process, *process.children()]


def test_heavy_sql_is_refused_within_the_memory_that_compose_gives(movies: Server) -> None:
    movies.get("/cinematch")
    most = 0.0
    for sql in HEAVY:
        for form in ("/cinematch.json", "/cinematch"):
            answer = movies.get(form, params={"sql": sql})
            assert answer.status_code == 400, (sql, answer.text[:300])
    for process in own(movies):
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        most += int(peak[1]) / 1024
    assert most < COMPOSE_MIB, f"at their highest the processes took {most:.0f} MiB"
    assert movies.get("/recommend/1").status_code == 200


@pytest.fixture
def compose_limit() -> Iterator[Callable[[], None]]:
    """Make the call by which a process puts itself into a memory control group of compose's limit."""
    name = f"cinematch-test-{os.getpid()}"
    for root, limit in ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")):
        group = root / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(COMPOSE_MIB << 20))
        except OSError:
            group.rmdir()
            continue
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(50):  # it is empty as soon as the processes are gone
            try:
                group.rmdir()
                return
            except OSError:
                time.sleep(0.1)
        return
    pytest.skip("no memory control group can be made here")


def test_a_server_in_the_memory_of_compose_outlives_all_of_it_at_once(
    own_movies: Callable[..., tuple[Path, str]], compose_limit: Callable[[], None]
) -> None:
    folder, _ = own_movies()
    with serving(folder, preexec=compose_limit) as server:
        with ThreadPoolExecutor(6) as pool:
            asked = [
                pool.submit(httpx.get, f"{server.url}cinematch.json", params={"sql": sql}, timeout=60, trust_env=False) for sql in HEAVY * 2
            ]
        assert {answer.result().status_code for answer in asked} <= {400, 429}
        assert server.process.poll() is None and server.get("/recommend/1").status_code == 200
        assert server.get("/cinematch").status_code == 200


@pytest.mark.parametrize("path", [
    "/cinematch/items.json?_timelimit=abc", "/cinematch/items?_timelimit=1e9", "/cinematch/items.json?_sort=nope", "/cinematch/items?_sort=nope",
    "/cinematch/items.json?_facet_size=x", "/cinematch/items?_facet=genres&_facet_size=x", "/cinematch/items.json?_through=x",
    "/cinematch/items.json?_json=nope", "/cinematch/items?_json=title", "/cinematch/items.json?_size=x", "/cinematch/items?_next=%00",
    "/cinematch.json?sql=select+:a&a=%FF", "/cinematch/items?_col=nope", "/cinematch/items?_where=x", "/cinematch/items?_search_nope=a",
    "/%FF", "/cinematch/%FF", "/cinematch/items/%FF", "/-/static/%00", "/cinematch/items.blob",
])  # fmt: skip
def test_no_request_to_datasette_is_an_error_of_the_server(path: str, movies: Server) -> None:
    for headers in ({}, HTML):
        answer = movies.get(path, headers=headers)
        assert answer.status_code < 500 and "Traceback" not in answer.text, answer.text[:300]


def test_datasette_only_reads(movies: Server) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        for path in ("/cinematch/items", "/cinematch/list_of_user", "/cinematch", "/nowhere"):
            assert movies.client.request(method, path, content=b"a=1").status_code == 405
    assert movies.client.request("GET", "/cinematch", content=b"a=1").status_code == 413
    assert movies.get("/cinematch", headers={"cookie": "a=\xff; ds_actor=x".encode("latin-1")}).status_code == 200


def test_the_log_has_no_traceback_and_no_ones_id(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    with serving(folder) as server:
        for sql in ("select * from users where user_id = :user_id and nope", "select 'zq-7731' from nope"):
            assert server.get("/cinematch.json", params={"sql": sql, "user_id": "zq-7731"}).status_code == 400
        for path in (
            "/cinematch/users/zq-7731",
            "/cinematch/users?_sort=zq-7731",
            "/cinematch/items.json?_timelimit=zq-7731",
            "/cinematch/items?_next=zq-7731",
        ):
            server.get(path)
        time.sleep(0.3)
        text = "".join(server.log)
    assert "zq-7731" not in text and "Traceback" not in text and "datasette 400" in text


def test_datasette_comes_back_where_it_was_killed(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    with serving(folder) as server:
        assert not own(server)[1:], "it starts with the first request that it is to answer"
        assert server.get("/cinematch").status_code == 200
        (first,) = own(server)[1:]
        time.sleep(1.1)
        first.send_signal(signal.SIGKILL)
        psutil.wait_procs([first], timeout=5)
        assert server.get("/recommend/1").status_code == server.get("/cinematch").status_code == 200
        (second,) = own(server)[1:]
        assert second.pid != first.pid
        (kept,) = [argument for argument in second.cmdline() if Path(argument).name.startswith("cinematch-")]
        assert Path(kept).stat().st_mode & 0o077 == 0, "nobody else may enter the folder of its socket"
        server.kill()
        gone, left = psutil.wait_procs([second], timeout=5)
        assert gone and not left and not Path(kept).exists(), "it ends with a server that was killed, and leaves nothing"


def test_nothing_tells_where_the_files_are(movies: Server) -> None:
    folder = str(movies.warehouse.folder)
    for path in (
        "/-/databases.json",
        "/-/databases",
        "/-/threads.json",
        "/-/versions.json",
        "/-/allow-debug",
        "/-/patterns",
        "/-/messages",
        "/-/permissions",
        "/-/plugins.json",
        "/-/actor.json",
        "/-/logout",
        "/cinematch.db",
    ):
        assert movies.get(path).status_code in (403, 404), path
    for path in (
        "/-/metadata.json",
        "/-/settings.json",
        "/cinematch.json",
        "/cinematch",
        "/",
        "/releases",
        "/openapi.json",
        "/metrics",
        f"/cinematch.json?sql={quote('select * from pragma_database_list')}",
    ):
        assert folder not in movies.get(path).text, path


def test_the_database_is_given_where_a_setting_says_so(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    with serving(folder, "--allow-download") as server:
        answer = server.get("/cinematch.db")
        assert answer.content.startswith(b"SQLite format 3") and len(answer.content) == int(answer.headers["content-length"])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/recommend/1",
        "/why/1/1",
        "/popular",
        "/recommend/1?n=0",
        "/cinematch",
        "/cinematch/items",
        "/cinematch?sql=select+1",
        "/nowhere",
    ],
)
def test_every_page_says_what_it_may_load(path: str, movies: Server) -> None:
    answer = movies.get(path, headers=HTML)
    said = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html") and "unsafe-inline" not in said
    assert (
        "frame-ancestors 'none'" in said
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
    )
    nonces = set(re.findall(r"'nonce-([\w-]+)'", said))
    for tag, attributes in re.findall(r"<(script|style)\b([^>]*)>", answer.text):
        own_file = re.search(r'src="/-/', attributes)
        assert own_file or nonces and f'nonce="{nonces.copy().pop()}"' in attributes, (tag, attributes)
    assert not re.search(r"\son\w+=\"", answer.text), "handlers in attributes would not run"
    if not path.startswith(("/cinematch", "/nowhere")):
        assert ' style="' not in answer.text


def test_a_script_in_the_data_gets_no_nonce(movies: Server) -> None:
    text = movies.get("/cinematch", params={"sql": "select '<script>alert(1)</script>' as x"}, headers=HTML).text
    assert "<script>alert" not in text and text.count("alert(1)") >= 1


def test_pages_load_their_files(movies: Server) -> None:
    shown = movies.get("/", headers=HTML).text
    for address in re.findall(r'(?:src|href)="(/-/cinematch/[^"]+)"', shown):
        answer = movies.get(address)
        assert (
            answer.status_code == 200
            and "immutable" in answer.headers["cache-control"]
            and answer.headers["x-content-type-options"] == "nosniff"
        )
    assert "cinematch.css" in shown and "<script>" not in shown


@pytest.mark.parametrize(("host", "status"), [
    ("localhost:8001", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("10.1.2.3", 200), ("evil.example", 400), ("localhost.evil.example", 400),
    ("127.0.0.1.evil.example", 400), ("", 400), ("a b", 400), ("[evil.example]", 400),
])  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(host: str, status: int, movies: Server) -> None:
    for path in ("/recommend/1", "/cinematch.json?sql=select+1"):
        answer = movies.get(path, headers={"host": host})
        assert answer.status_code == status, answer.text[:200]
    assert movies.get("/health/live", headers={"host": host}).status_code in (200, 400)


def test_names_and_origins_are_settings(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    asks = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    with serving(folder, "--allowed-hosts", "films.example", "--cors-origins", "https://shop.example") as server:
        assert server.get("/recommend/1", headers={"host": "films.example:443"}).status_code == 200
        assert server.get("/recommend/1", headers={"host": "other.example"}).status_code == 400
        for path in ("/recommend/1", "/cinematch/items.json"):
            answer = server.get(path, headers={"origin": "https://shop.example"})
            assert answer.headers["access-control-allow-origin"] == "https://shop.example" and "origin" in answer.headers["vary"].lower()
            assert "access-control-allow-origin" not in server.get(path, headers={"origin": "https://evil.example"}).headers
            asked = server.client.options(path, headers={"origin": "https://shop.example", **asks})
            assert asked.status_code == 204 and "authorization" in asked.headers["access-control-allow-headers"]
            refused = server.client.options(path, headers={"origin": "https://evil.example", **asks})
            assert refused.status_code == 405 and "access-control-allow-origin" not in refused.headers
