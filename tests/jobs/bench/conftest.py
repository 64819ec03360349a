"""Benchmarks run as a person runs them, and a look at what they leave behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
END_S = 10.0


class Bench:
    """One `cinematch bench`, in a session of its own and with a folder of its own for temporary files."""

    def __init__(self, temporary: Path, *arguments: str) -> None:
        self._temporary = temporary
        self.json = temporary.with_suffix(".json")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "jobs.cli", "bench", *arguments, "--json", str(self.json)],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )

    def figures(self, *, timeout: float = 420) -> dict:
        """The figures of a run that ended well; its last line is what the file has."""
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, err
        found = json.loads(out.splitlines()[-1])
        assert found == json.loads(self.json.read_text(encoding="utf-8"))
        for name, value in found.items():
            assert isinstance(value, (str, int)) or math.isfinite(value), name
        return found

    def left_running(self) -> list[str]:
        """Processes of its session, once those that were ending have ended."""
        until = time.monotonic() + END_S
        while (found := self.session()) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def session(self) -> list[str]:
        """Command lines of the processes of its session, itself included."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (OSError, psutil.Error):
                continue
        return found

    def left_behind(self) -> list[Path]:
        return list(self._temporary.iterdir())

    def end(self) -> None:
        """Whatever a failed test left, but only of this session."""
        if self.session():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what it runs in the background deaf to Ctrl-C, and deafness is inherited; a bench is not to be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A function that starts a benchmark."""
    started: list[Bench] = []

    def start(*arguments: str) -> Bench:
        folder = tmp_path / f"temporary{len(started)}"
        folder.mkdir()
        started.append(Bench(folder, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.end()
