"""The online ratings as a server sees them: who has any, what each user has now, and one writer that commits in groups."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, NamedTuple

from schemas.errors import CineMatchError, ResourceError
from serving.response import RequestError
from serving.sql_limits import bound
from warehouse import overlay as store
from warehouse.identity import identity
from warehouse.overlay import Entry

log = logging.getLogger("cinematch.serving")

GROUP = 512
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class Reader:
    """Reads overlay.db, whoever writes it. Every question first asks SQLite whether anything was committed since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = bound(store.open_read_only(path))
        self._opened = [self._connection]
        try:
            store.check_whole(self._connection, path)
            self.identity = identity(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._threads = threading.local()
        self._version: int | None = None
        self._n_removals = -1
        self._last: dict[Any, int] = {}
        self.last_seq = 0

    def user_seq(self, user_id: Any, *, after: int) -> int:
        """Sequence number of the user's last entry after a number; 0 if there is none."""
        self._refresh()
        last = self._last.get(user_id, 0)
        return last if last > after else 0

    def _refresh(self) -> None:
        version = self._connection.execute("pragma data_version").fetchone()[0]
        if version == self._version:
            return
        n_removals = store.n_removals(self._connection)
        if n_removals != self._n_removals:
            self._last, self.last_seq, self._n_removals = {}, 0, n_removals
        seqs = store.last_by_user(self._connection, after=self.last_seq)
        self._last.update(seqs)
        self.last_seq = max(self.last_seq, *seqs.values()) if seqs else self.last_seq
        self._version = version

    def lag(self, *, after: int) -> tuple[int, int]:
        """Return how many entries came after a number, and the last number there is."""
        self._refresh()
        n = self._connection.execute("select count(*) from ratings where seq > ?", (after,)).fetchone()[0]
        return n, self.last_seq

    def of_user(self, user_id: Any, *, after: int, upto: int | None = None) -> list[Entry]:
        """A user's entries; callable from any thread."""
        connection = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = bound(store.open_read_only(self._path))
            self._opened.append(connection)
        return store.of_user(connection, user_id, after=after, upto=upto)

    def close(self) -> None:
        """Close every thread's connection; none may be asked any more."""
        for connection in self._opened:
            connection.close()


class Written(NamedTuple):
    """The outcome of one entry: its sequence number, or that of the same event before it."""

    seq: int
    is_duplicate: bool


class _Batch(NamedTuple):
    entries: Sequence[Entry]
    has_times: Sequence[bool]
    done: Callable[[Any], None]


class Writer:
    """The one thread that writes: takes what waits, commits it as one transaction, then answers each request.

    A request's entries are all written or none. Those that were answered are on disk, in the file that is in its place: a
    commit to one that was replaced or removed meanwhile is not answered as one.
    """

    def __init__(self, path: Path, *, after: int, failed: Callable[[sqlite3.Error], None]) -> None:
        self._path, self._failed = path, failed
        self._connection = bound(store.create(path, after=after))
        self._file = file_of(path)
        self._waiting: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)
        self._thread.start()

    async def write(self, entries: Sequence[Entry], has_times: Sequence[bool]) -> list[Written]:
        """Write a request's entries; has_times says which of them brought their own rated_at. Returns once they are durable.

        Raises RequestError (409) if an entry contradicts one of the same user, item and time, ResourceError where the disk
        is full.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def done(result: Any) -> None:
            loop.call_soon_threadsafe(_resolve, future, result)

        self._waiting.put(_Batch(entries, has_times, done))
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Write what waits, fold SQLite's log into the file, then stop."""
        self._waiting.put(None)
        self._thread.join(10)
        try:
            self._connection.execute("pragma wal_checkpoint(truncate)")
        except sqlite3.Error as error:  # all of it is durable in the log, too
            log.error("overlay.db-wal could not be folded into overlay.db: %s", error)
        self._connection.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            group = [self._waiting.get()]
            while len(group) < GROUP:
                try:
                    group.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            is_open = None not in group
            batches = [batch for batch in group if batch is not None]
            if batches:
                self._commit(batches)

    def _commit(self, batches: list[_Batch]) -> None:
        try:
            self._check_place()
            self._connection.execute("begin immediate")
            results = [self._append(batch) for batch in batches]
            self._connection.execute("commit")
            self._check_place()
        except Exception as error:
            if self._connection.in_transaction:
                try:
                    self._connection.execute("rollback")
                except sqlite3.Error:
                    log.exception("a failed transaction could not be rolled back")
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self._failed(cast(sqlite3.Error, error))
            results = [_refusal(error)] * len(batches)
        for batch, result in zip(batches, results):
            batch.done(result)

    def _check_place(self) -> None:
        if file_of(self._path) != self._file:
            raise RequestError(f"{self._path} was replaced or removed; nothing of this request counts. Send it again", 503)

    def _append(self, batch: _Batch) -> list[Written] | Exception:
        """One request within the group: a contradiction undoes this request and no other."""
        self._connection.execute("savepoint request")
        written = []
        for place, (entry, has_time) in enumerate(zip(batch.entries, batch.has_times)):
            same = None if entry.is_deleted or entry.is_overwrite else store.same_event(self._connection, entry)
            if same is not None and (same.rating, same.weight) == (entry.rating, entry.weight):
                written.append(Written(same.seq, True))
            elif same is not None and has_time:
                self._connection.execute("rollback to request")
                self._connection.execute("release request")
                return RequestError(
                    f"row {place}: there is a rating of {same.rating if same.rating is not None else same.weight:g} by the same user "
                    f"for the same item and time already; PUT overwrites it. Nothing of this request was written",
                    409,
                )
            else:
                written.append(Written(store.append(self._connection, entry), False))
        self._connection.execute("release request")
        return written


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def file_of(path: Path) -> tuple[int, int] | None:
    """Return which file stands at a path; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refusal(error: Exception) -> CineMatchError:
    log.error("ratings could not be written: %s", error)
    if isinstance(error, CineMatchError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return ResourceError("the disk of overlay.db is full or fails; nothing of this request was written. Free space and send it again")
    return RequestError(
        "ratings cannot be written just now; nothing of this request was written. Send it again",
        503,
        {"retry-after": "1"},
    )
