"""The page of the API: every call that it shows can be pasted, and does what it says."""

from __future__ import annotations

import shlex
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.conftest import copied, every_scope, Server, serving

REFUSED = {"start_run": 403, "show_run": 403, "delete_rating": 404}  # there is no Airflow, and the rating was deleted before


@pytest.fixture(params=["movie_release", "purchase_release"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    folder = copied(request.getfixturevalue(request.param), tmp_path / "own")
    with serving(folder, key=every_scope(folder)) as started:
        yield started


def operations(server: Server) -> list[dict]:
    """The operations, as they stand on the page of a server with this address."""
    rows = server.rows("/api")
    shown = next(row["curl"] for row in rows if row["name"] == "home").removeprefix("curl ").removesuffix("/")
    here = server.url.rstrip("/")
    return [row | {how: row[how].replace(shown, here) for how in ("curl", "python")} for row in rows]


def test_every_call_in_python_is_answered(server: Server) -> None:
    answered = {}
    for row in operations(server):
        names: dict = {"KEY": server.key}
        setup, call = row["python"].rsplit("\n", 1)
        if row["name"] == "metrics":
            continue  # which is no JSON
        exec(setup, names)
        try:
            answered[row["name"]] = eval(call, names)
        except urllib.error.HTTPError as error:
            assert error.code == REFUSED.get(row["name"]), (row["name"], error.read())
    assert answered.keys() == {row["name"] for row in operations(server)} - {"metrics", *REFUSED}
    assert answered["recommend"]["rows"] and answered["rank"]["rows"] and answered["search"]["rows"], "the ids are of this release"
    assert answered["add_ratings"]["n_accepted"] == 1 and answered["delete_ratings"]["rows"][0]["status"] == "deleted"


def test_every_call_by_curl_is_answered(server: Server, tmp_path: Path) -> None:
    for row in operations(server):
        words = [word.replace("$KEY", server.key) for word in shlex.split(row["curl"])]
        ended = subprocess.run([*words, "-s", "-o", tmp_path / "answer", "-w", "%{http_code}"], capture_output=True, text=True, timeout=30)
        status = int(ended.stdout)
        assert status == REFUSED.get(row["name"], 200), (row["curl"], (tmp_path / "answer").read_text())


def test_the_page_shows_each_with_what_it_takes(server: Server) -> None:
    page = server.get("/api", headers={"accept": "text/html"}).text
    rows = operations(server)
    assert all(f'id="{row["name"]}"' in page for row in rows) and len(page.encode()) < 150_000
    assert {"user_id", "n", "exclude"} <= {one["name"] for row in rows if row["name"] == "recommend" for one in row["parameters"]}
    assert 'href="/api"' in server.get("/", headers={"accept": "text/html"}).text
