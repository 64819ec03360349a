"""The end of a command that is stopped, or whose disk is full: in a sentence and an exit status, not in a traceback."""

from __future__ import annotations

import errno
import logging
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import was_interrupted

INTERRUPTED, TERMINATED, REFUSED = 130, 143, 4
_NOT_OURS_TO_WRITE = (errno.EROFS, errno.EACCES, errno.EPERM)
_SQLITE_SAYS = ("readonly database", "unable to open database file", "disk I/O error")


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler or a container ends the command, which puts its things away as after Ctrl-C."""


@contextmanager
def put_away_when_terminated() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does; once only, for whoever sends it again is in a hurry."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_not_of_an_interrupt(record: logging.LogRecord) -> bool:
    """For the root logger, where Py4J prints the traceback of a Ctrl-C that it also raises."""
    return not str(record.msg).startswith("KeyboardInterrupt while sending command")


def said(error: BaseException) -> tuple[int, str] | None:
    """Exit status and sentence of an error that nobody raised on purpose; None for a fault of the program."""
    from jobs.machine.needs import is_disk_full

    if was_interrupted(error):
        is_term = any(isinstance(one, Terminated) for one in _chain(error))
        return TERMINATED if is_term else INTERRUPTED, "stopped; nothing was promoted"
    if is_disk_full(error):
        return REFUSED, f"the disk took no more ({error}); free some, or prune releases, and run this again"
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _NOT_OURS_TO_WRITE:
            return REFUSED, f"{one.filename}: cannot be written ({one.strerror}); it takes a folder that this user may write to"
        if isinstance(one, sqlite3.OperationalError) and any(words in str(one) for words in _SQLITE_SAYS):
            return REFUSED, f"a database cannot be written ({one}); it takes room on the disk and a folder that this user may write to"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
