"""Locks on files, for processes that may meet: held while the process lives, and gone with it however it ends."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("cinematch")


@contextmanager
def locked(path: Path, *, is_shared: bool = False) -> Iterator[None]:
    """Wait for everybody who holds the file otherwise; those who share it hold it together."""
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    with path.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that holds %s", path)
            fcntl.flock(file, kind)
        yield
