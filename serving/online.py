"""The online ratings of a running server, whatever becomes of overlay.db: opened, watched, and left aside where it is damaged.

Lookups go on from the release alone where the file cannot be read; writes are refused then, and `problem` says why.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from schemas.errors import ReleaseError
from serving.opened import OpenRelease
from serving.overlay import file_of, Reader, Writer, Written
from serving.response import RequestError
from warehouse.identity import contained, numbers_taken
from warehouse.layout import Warehouse
from warehouse.overlay import Entry

RETRY_S = 5.0


class Online:
    """The ratings that came in since the releases were built; `changed` is called when another file took the place of overlay.db."""

    def __init__(self, warehouse: Warehouse, *, is_read_only: bool, changed: Callable[[], None]) -> None:
        self._warehouse, self._is_read_only, self._changed = warehouse, is_read_only, changed
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._file: tuple[int, int] | None = None
        self._retry_at = 0.0
        self.problem: str | None = None
        self.open()

    def is_due(self) -> bool:
        """Whether overlay.db is another file than the one that is open, or should be tried again."""
        file = file_of(self._warehouse.overlay)
        if self.problem is not None:
            return time.monotonic() >= self._retry_at
        return file != self._file

    def open(self) -> None:
        """Open what is there. Where that cannot be, what was open is read on, and nothing is written."""
        self._retry_at = time.monotonic() + RETRY_S
        file = file_of(self._warehouse.overlay)
        if file is None and self._file is not None:
            self.problem = f"{self._warehouse.overlay} is gone; put it back, or restart the server to begin without the ratings in it"
            return
        if file is None and self._is_read_only:
            return
        reader, writer, self.problem = None, None, None
        try:
            writer = None if self._is_read_only else self._new_writer()
        except (ReleaseError, sqlite3.Error, OSError) as error:
            self.problem = str(error)
        try:
            reader = Reader(self._warehouse.overlay)
        except (ReleaseError, sqlite3.Error, OSError) as error:
            self.problem = self.problem or str(error)
        if reader is None:
            if writer is not None:
                writer.close()
            return
        old = self._writer
        self._reader, self._writer, self._file = reader, writer, file_of(self._warehouse.overlay)
        self._changed()
        if old is not None:
            old.close()

    def _new_writer(self) -> Writer:
        return Writer(self._warehouse.overlay, after=numbers_taken(self._warehouse), failed=self._fail)

    def _fail(self, error: sqlite3.Error) -> None:
        self.problem = f"{self._warehouse.overlay}: cannot be read ({error}); put a good copy in its place"
        self._retry_at = time.monotonic() + RETRY_S

    async def write(self, entries: Sequence[Entry], has_times: Sequence[bool]) -> list[Written]:
        """Write entries, as `Writer.write` does. Raises RequestError (503) if nothing can be written now."""
        if self.problem is not None or self._writer is None:
            raise RequestError(f"ratings cannot be written: {self.problem}. Nothing of this request was written", 503)
        return await self._writer.write(entries, has_times)

    def user_seq(self, opened: OpenRelease, user_id: Any) -> int:
        """Sequence number of the user's last rating that the release does not contain; 0 if it has all."""
        return self._read(0, lambda reader: reader.user_seq(user_id, after=_contained(reader, opened)))

    def of_user(self, opened: OpenRelease, user_id: Any, *, upto: int) -> list[Entry]:
        """The user's entries that the release does not contain. From any thread."""
        return self._read([], lambda reader: reader.of_user(user_id, after=_contained(reader, opened), upto=upto))

    def of_user_after(self, user_id: Any, seq: int) -> list[Entry]:
        """The user's entries after a number."""
        return self._read([], lambda reader: reader.of_user(user_id, after=seq))

    def lag(self, opened: OpenRelease) -> tuple[int, int]:
        """Return how many online ratings the release does not contain, and the last sequence number."""
        return self._read((0, 0), lambda reader: reader.lag(after=_contained(reader, opened)))

    def _read(self, without: Any, ask: Callable[[Reader], Any]) -> Any:
        """Return what the overlay says; if it turns out not to be readable, what there is without it."""
        reader = self._reader
        if reader is None:
            return without
        try:
            return ask(reader)
        except sqlite3.Error as error:
            if reader is self._reader:
                self._reader = None
                self._fail(error)
            return without

    def close(self) -> None:
        """Readers first, so that the writer can fold the log that SQLite keeps beside the file into it."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._writer.close()


def _contained(reader: Reader, opened: OpenRelease) -> int:
    return contained(opened.manifest.input, reader.identity)
