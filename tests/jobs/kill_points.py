"""Run one step again and again, each time killed before its next operation on a file of the warehouse.

    python -m tests.jobs.kill_points STEP RELEASE KEEP WAREHOUSE COPIES

copies the warehouse to COPIES/<n> and, in a forked process, runs the step there until it is about to do the n-th
operation, where the process kills itself with SIGKILL. Ends with the first n that the step survives, and prints it. The
operations are those that Python reports to audit hooks and that may change something: opening to write, renaming, removing,
linking, making folders, changing modes, connecting to SQLite. Before an operation that only reads, the warehouse is as after the
last that changed it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

from jobs.run import run_step
from tests.conftest import small_settings
from tests.jobs.conftest import TINY
from warehouse.layout import Warehouse

OPERATIONS = {
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.link",
    "shutil.rmtree",
    "sqlite3.connect",
    "fcntl.flock",
}


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_before(n: int, folder: Path) -> None:
    """From now on, count the operations on files under folder, and die before the n-th."""
    left, inside = n, str(folder)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in OPERATIONS and (event == "fcntl.flock" or inside in str(arguments[0])) and (event != "open" or arguments[2] & WRITES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def attempt(n: int, step: str, release_id: str, keep: int, folder: Path) -> bool:
    """Whether the step was killed; any other end than that or success is an error."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            kill_before(n, folder)
            run_step(step, Warehouse(folder), release_id, small_settings(folder, **TINY | {"keep": keep}))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if os.waitstatus_to_exitcode(status) == 0:
        return False
    raise SystemExit(f"{step} failed at operation {n}")


def main(step: str, release_id: str, keep: str, warehouse: str, copies: str) -> None:
    warnings.simplefilter("error")
    if step == "seal":
        import jobs.seal.step  # noqa: F401  once, not in every child
    import sqlite_utils  # noqa: F401  the same

    n = 1
    while attempt(n, step, release_id, int(keep), Path(shutil.copytree(warehouse, Path(copies) / f"{n:04d}"))):
        n += 1
    print(n)


if __name__ == "__main__":
    main(*sys.argv[1:])
