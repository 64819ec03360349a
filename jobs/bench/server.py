"""Servers to measure: the product's and an empty one, each a process on a free port, always stopped."""

from __future__ import annotations

import os
import re
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from jobs.bench.wire import Wire
from schemas.errors import StepError
from schemas.settings import ENVIRONMENT_PREFIX

ROOT = Path(__file__).resolve().parents[2]
START_S, STOP_S = 60.0, 15.0
EMPTY = (
    "-m",
    "uvicorn",
    "jobs.bench.empty_app:app",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--lifespan",
    "off",
    "--no-access-log",
    "--no-server-header",
    "--no-date-header",
    "--backlog",
    "1024",
)
_ADDRESS = re.compile(r"http://[^\s/]+(?=[\s/])")


class Server:
    """A running server: its address, and what the system says of its process."""

    def __init__(self, process: subprocess.Popen, address: tuple[str, int], started: float) -> None:
        self.process, self.address, self.started = process, address, started
        self._seen = psutil.Process(process.pid)
        self._workers: list[psutil.Process] = []

    def cpu_s(self) -> float:
        """CPU seconds that the process has used, its threads' included, and its workers if it has any."""
        times = [process.cpu_times() for process in (self._seen, *self._workers)]
        return sum(one.user + one.system for one in times)

    def count_workers(self, n: int) -> None:
        """Wait until the process has n workers, and count what they use from now on. Raises StepError."""
        until = time.monotonic() + START_S
        while len(self._workers) < n:
            self._workers = self._seen.children()
            if time.monotonic() > until:
                raise StepError(f"{len(self._workers)} of {n} workers started")
            time.sleep(0.01)

    def resident_mib(self) -> float:
        return self._seen.memory_info().rss / 2**20

    def descriptors(self) -> int:
        """Open files and connections."""
        return self._seen.num_fds()

    def beside_mib(self) -> float:
        """Resident memory of the processes that it has started."""
        n_bytes = 0
        for child in self._seen.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a release that is swapped out takes its own along
                n_bytes += child.memory_info().rss
        return n_bytes / 2**20

    def wire(self) -> Wire:
        return Wire(self.address)


@contextmanager
def product_server(warehouse: Path, log: Path, *flags: str) -> Iterator[Server]:
    """The product on a warehouse, with its access log in a file as an operator would have it."""
    with _running(["-m", "serving", "--warehouse", str(warehouse), "--port", "0", *flags], log) as server:
        yield server


@contextmanager
def empty_server(log: Path) -> Iterator[Server]:
    """Start the server software around an application that does nothing."""
    with _running(list(EMPTY), log) as server:
        yield server


@contextmanager
def _running(arguments: list[str], log: Path) -> Iterator[Server]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    paths = [str(ROOT), kept["PYTHONPATH"]] if "PYTHONPATH" in kept else [str(ROOT)]
    started = time.monotonic()
    with log.open("wb") as lines:
        process = subprocess.Popen(  # nosec B603  # no shell; our own command, on this machine
            [sys.executable, *arguments],
            cwd=log.parent,
            stdout=lines,
            stderr=lines,
            stdin=subprocess.DEVNULL,
            env=kept | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    try:
        yield Server(process, _address(process, log), started)
    finally:
        process.terminate()
        guard = threading.Timer(STOP_S, process.kill)
        guard.start()
        process.wait()
        guard.cancel()


def _address(process: subprocess.Popen, log: Path) -> tuple[str, int]:
    """Where it listens, from what it says first. Raises StepError with its last words where it says nothing."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        match = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if match:
            parts = urlsplit(match.group())
            return str(parts.hostname), int(parts.port or 0)
        time.sleep(0.005)
    raise StepError(f"the server to measure did not start: {log.read_text(encoding='utf-8', errors='replace')[-500:]}")
