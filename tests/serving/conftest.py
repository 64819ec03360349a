"""Servers to ask: real ones, each a process on a free port of this machine, always stopped."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from schemas.manifest import Manifest
from tests.conftest import Built
from warehouse.keys import create, SCOPES
from warehouse.layout import Warehouse

ROOT = Path(__file__).resolve().parents[2]
START_S = 30


class Server:
    """A server process and a client of it."""

    def __init__(self, warehouse: Path, *flags: str, key: str = "", preexec=None) -> None:
        self.warehouse = Warehouse(warehouse)
        self.key = key
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--warehouse", str(warehouse), "--port", "0", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        guard = threading.Timer(START_S, self.process.kill)
        guard.start()
        self.banner = self.process.stdout.readline()
        guard.cancel()
        assert "http://" in self.banner, "".join(self.log)
        self.url = self.banner.split(" at ")[1].strip()
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def get(self, path: str, **parameters) -> httpx.Response:
        return self.client.get(path, **parameters)

    def rows(self, path: str) -> list[dict]:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    def send(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A write with the key."""
        return self.client.request(method, path, content=b"" if body is None else json.dumps(body), headers=self.auth)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> str:
        """Stop as an operator does; returns what was printed after the first line."""
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._reading.join(5)
        self.process.stderr.close()
        with self.process.stdout as rest:
            return rest.read()


@contextmanager
def serving(warehouse: Path, *flags: str, key: str = "", preexec=None) -> Iterator[Server]:
    server = Server(warehouse, *flags, key=key, preexec=preexec)
    try:
        yield server
    finally:
        server.stop()


def is_close(one: object, other: object) -> bool:
    """Tell whether two values are the same JSON, numbers to eleven digits."""
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, (int, float)) and isinstance(other, (int, float)) and math.isclose(one, other, rel_tol=1e-11, abs_tol=1e-15)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_close(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_close, one, other))
    return one == other


def copied(built: Built, folder: Path) -> Path:
    """A warehouse to change, with the release of another."""
    shutil.copytree(built.warehouse.folder, folder, ignore=shutil.ignore_patterns("raw", ".staging", "overlay.db*", "api_keys*.json"))
    return folder


def every_scope(folder: Path) -> str:
    """A new key of a warehouse that may everything."""
    return create(Warehouse(folder), "tests", scopes=SCOPES)


def clone(warehouse: Warehouse, old: str, new: str, **changed: object) -> str:
    """Another sealed release with the same files: what a rebuild from the same input would be. `changed` is of its manifest."""
    source, target = warehouse.sealed(old), warehouse.sealed(new)
    shutil.copytree(source.folder, target.folder)
    target.folder.chmod(0o755)
    target.manifest.chmod(0o644)
    manifest = json.loads(target.manifest.read_text(encoding="utf-8"))
    del manifest["sha256"]
    made = Manifest.from_json(json.dumps({**manifest, "release": new, **changed}), name=new)
    target.manifest.write_text(made.to_json(), encoding="utf-8")
    return new


@pytest.fixture(scope="session")
def movies(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of films, with a key. Tests may write, each for users of its own."""
    folder = copied(movie_release, tmp_path_factory.mktemp("serve") / "movies")
    key = every_scope(folder)
    with serving(folder, key=key) as server:
        yield server


@pytest.fixture(scope="session")
def purchases(purchase_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of purchases: text ids of every kind, no ratings."""
    folder = copied(purchase_release, tmp_path_factory.mktemp("serve") / "purchases")
    key = every_scope(folder)
    with serving(folder, key=key) as server:
        yield server


@pytest.fixture
def own_movies(movie_release: Built, tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """A function that makes a warehouse of films for one test, and a key for it."""

    def make(name: str = "own") -> tuple[Path, str]:
        folder = copied(movie_release, tmp_path / name)
        return folder, every_scope(folder)

    return make
