"""Locks: whoever holds one otherwise is waited for, and one that is killed holds nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs.staging.file_locks import locked

HOLD = """
import sys
from pathlib import Path
from jobs.staging.file_locks import locked
with locked(Path(sys.argv[1]), is_shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holding(path: Path, how: str) -> subprocess.Popen:
    """Another process that holds the lock, until it is told to let go or killed."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("end", ["let go", "kill -9"])
def test_one_waits_for_another_that_holds_it_until_that_ends_however_it_does(tmp_path: Path, end: str) -> None:
    process = holding(tmp_path / "lock", "alone")
    got = threading.Event()

    def take() -> None:
        with locked(tmp_path / "lock", is_shared=True):
            got.set()

    taking = threading.Thread(target=take)
    taking.start()
    assert not got.wait(0.3)
    if end == "let go":
        process.communicate("\n")
    else:
        process.kill()
        process.communicate()
    taking.join(20)
    assert got.is_set()


def test_those_who_share_it_hold_it_together(tmp_path: Path) -> None:
    process = holding(tmp_path / "lock", "shared")
    with locked(tmp_path / "lock", is_shared=True):
        assert process.poll() is None
    process.communicate("\n")
