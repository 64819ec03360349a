"""Releases in staging: claimed by the process that builds or imports one, and swept away when that process is gone."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import StepError
from warehouse.layout import is_id, Release, Warehouse
from warehouse.locks import lock
from warehouse.pruning import finish_removals, remove

log = logging.getLogger("cinematch")


@contextmanager
def claimed(staged: Release) -> Iterator[None]:
    """Hold a release in staging, and leave nothing of it there. The claim is a locked file, so that another process can tell
    what a live one builds from the remains of a dead one; it is there before anything else is, and goes last."""
    staged.owner.parent.mkdir(parents=True, exist_ok=True)
    with staged.owner.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError(f"release {staged.id} is being built by another run; wait for it, or leave --release out") from None
        try:
            staged.folder.mkdir(exist_ok=True)
            yield
        finally:
            discard(staged)


def sweep(warehouse: Warehouse) -> None:
    """Remove what a killed run or import left in staging; what step commands build there is not theirs and stays."""
    with lock(warehouse):
        finish_removals(warehouse)
    for owner in warehouse.staging.glob("*.owner"):
        if not is_id(owner.stem) or not owner.is_file():
            continue
        try:
            with owner.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                staged = warehouse.staged(owner.stem)
                log.info("removing %s, left by a run that ended early", staged.id)
                discard(staged)
        except (BlockingIOError, FileNotFoundError):  # its run is alive, or has just ended
            continue


def discard(staged: Release) -> None:
    """Remove what stands in staging under a name, and the claim."""
    for leftover in (staged.folder, staged.work):
        if leftover.exists():
            remove(leftover)
    staged.owner.unlink(missing_ok=True)
