"""Downloading, against a server on this machine that can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from datetime import datetime, UTC
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.sources import download
from jobs.sources.download import ATTEMPTS, fetched
from jobs.sources.open import open_source
from schemas.errors import SourceError, UsageError
from schemas.settings import Settings

LATEST = datetime(2026, 11, 21, tzinfo=UTC)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("ml-tiny/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,964982703\n")
        file.writestr("ml-tiny/movies.csv", "movieId,title,genres\n2,Two (1990),Drama\n")
        file.writestr("ml-tiny/padding.bin", os.urandom(5000))
    return out.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files`. cuts: after how many bytes the next answers break off; ranges: the Range headers
    seen."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ranges: list[tuple[str, str | None]] = []
        self.has_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        wanted = self.headers.get("Range")
        self.server.ranges.append((name, wanted))
        content = self.server.files.get(name)
        if content is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.has_ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts and name.endswith(".zip") else len(content)
        self.wfile.write(content[start:end])
        return None

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.files["ml-tiny.zip"] = content = archive()
        server.files["ml-tiny.zip.md5"] = f"{hashlib.md5(content).hexdigest()}  ml-tiny.zip\n".encode()
        yield server
        server.shutdown()
        thread.join()


def test_it_is_fetched_checked_kept_and_not_fetched_again(tmp_path, server, capsys):
    path = fetched("ml-tiny", url=server.url + "/", folder=tmp_path / "raw")
    assert path == tmp_path / "raw" / "ml-tiny.zip" and path.read_bytes() == server.files["ml-tiny.zip"]
    assert [file.name for file in path.parent.iterdir()] == ["ml-tiny.zip"]
    assert "ml-tiny: 0.0 MiB, 100 %" in capsys.readouterr().err
    server.ranges.clear()
    assert fetched("ml-tiny", url="http://127.0.0.1:9", folder=tmp_path / "raw") == path and server.ranges == []


def test_the_source_downloads_into_raw(tmp_path, server):
    settings = Settings(source="movielens", dataset="ml-tiny", dataset_url=server.url)
    source = open_source(settings, raw=tmp_path / "raw", latest=LATEST)
    assert source.inputs == (tmp_path / "raw" / "movielens" / "ml-tiny.zip",)
    assert [batch.accepted["item_id"].to_pylist() for batch in source.interactions()] == [[2]]


def test_a_broken_transfer_goes_on_where_it_broke(tmp_path, server):
    server.cuts = [1000, 500]
    fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert server.ranges[:3] == [
        ("ml-tiny.zip", None),
        ("ml-tiny.zip", "bytes=1000-"),
        ("ml-tiny.zip", "bytes=1500-"),
    ]


def test_a_later_run_goes_on_where_an_earlier_one_stopped(tmp_path, server):
    server.cuts = [100] * ATTEMPTS
    with pytest.raises(SourceError, match=f"stopped after 400 bytes, {ATTEMPTS} times .*; run again to go on from there"):
        fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert (tmp_path / "ml-tiny.zip.part").stat().st_size == 400 and not (tmp_path / "ml-tiny.zip").exists()
    server.ranges.clear()
    fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert server.ranges[0] == ("ml-tiny.zip", "bytes=400-")


def test_a_server_without_ranges_starts_over(tmp_path, server):
    server.has_ranges, server.cuts = False, [1000]
    assert fetched("ml-tiny", url=server.url, folder=tmp_path).read_bytes() == server.files["ml-tiny.zip"]


def test_a_part_that_is_already_whole_or_too_long(tmp_path, server):
    content = server.files["ml-tiny.zip"]
    for more in (b"", b"of another file"):
        (tmp_path / "ml-tiny.zip.part").write_bytes(content + more)
        path = fetched("ml-tiny", url=server.url, folder=tmp_path)
        assert path.read_bytes() == content
        path.unlink()


@pytest.mark.parametrize("form", ["{}  ml-tiny.zip", "MD5 (ml-tiny.zip) = {}", "{}\n"])
def test_a_wrong_checksum_removes_the_file(tmp_path, server, form):
    server.files["ml-tiny.zip.md5"] = form.format("0" * 32).encode()
    with pytest.raises(SourceError, match=f"checksum [0-9a-f]{{32}}, expected {'0' * 32}; the file was removed"):
        fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_in_the_other_form(tmp_path, server):
    server.files["ml-tiny.zip.md5"] = f"MD5 (ml-tiny.zip) = {hashlib.md5(server.files['ml-tiny.zip']).hexdigest().upper()}".encode()
    assert fetched("ml-tiny", url=server.url, folder=tmp_path).exists()


def test_without_a_checksum_the_zip_checks_itself(tmp_path, server, capsys):
    del server.files["ml-tiny.zip.md5"]
    assert fetched("ml-tiny", url=server.url, folder=tmp_path).exists()
    assert "no checksum is published" in capsys.readouterr().err
    (tmp_path / "ml-tiny.zip").unlink()
    damaged = bytearray(server.files["ml-tiny.zip"])
    damaged[-3000] ^= 0xFF
    server.files["ml-tiny.zip"] = bytes(damaged)
    with pytest.raises(SourceError, match="not a sound zip .*padding.bin.*; the file was removed"):
        fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_file_without_a_checksum(tmp_path, server):
    server.files["ml-tiny.zip.md5"] = b"<html>"
    with pytest.raises(SourceError, match="holds no MD5 checksum"):
        fetched("ml-tiny", url=server.url, folder=tmp_path)


def test_a_name_the_server_does_not_know(tmp_path, server):
    with pytest.raises(
        SourceError,
        match=r"ml-none.zip: not found \(404\); expected .* one of ml-latest-small, .*; got 'ml-none'",
    ):
        fetched("ml-none", url=server.url, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError, match="cannot be reached: .*refused.*; check dataset_url"):
        fetched("ml-tiny", url=server.url, folder=tmp_path)


@pytest.mark.parametrize("name", ["../ml", "a/b", "", ".hidden"])
def test_a_name_that_is_a_path(tmp_path, name):
    with pytest.raises(UsageError, match="expected a name such as ml-latest-small"):
        fetched(name, url="http://127.0.0.1:9", folder=tmp_path)


def test_an_address_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="expected an address that begins with https:// or http://"):
        fetched("ml-tiny", url="file:///etc", folder=tmp_path)


def test_a_terminal_gets_a_bar(tmp_path, server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(download.sys, "stderr", terminal)
    fetched("ml-tiny", url=server.url, folder=tmp_path)
    assert "ml-tiny: 100%" in terminal.getvalue()


@pytest.mark.parametrize(
    "settings, message",
    [
        (Settings(source="movielens"), "source movielens: expected path, .* or dataset"),
        (Settings(source="table"), "source table: expected path"),
        (
            Settings(source="table", rating_scale="5"),
            "rating_scale: expected lowest:highest, such as 1:5, got '5'",
        ),
        (Settings(source="table", rating_scale="5:1"), "rating_scale"),
        (Settings(source="table", rating_scale="a:b"), "rating_scale"),
        (Settings(source="table", rating_scale="1:inf"), "rating_scale"),
    ],
)
def test_settings_that_say_too_little(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        open_source(settings, raw=tmp_path, latest=LATEST)
