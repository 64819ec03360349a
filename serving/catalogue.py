"""catalog.db beside the release in Datasette: a copy in memory, taken again when a job has built the file anew.

A copy is never written, so that a query sees one state of it, no job waits for a reader, and a file that is missing, damaged or
of something else takes no page down: the copy before stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from datasette.app import Datasette
from datasette.database import Database

from warehouse.catalog import GRAINS

log = logging.getLogger("cinematch.serving")

ROUTE = "catalog"
MOST_BYTES = 32 << 20
PATIENCE_S = 5.0
AFTER_S = 30.0  # by then no query can still read the copy before


class Catalogue:
    """Keeps the database `catalog` of a Datasette in line with the file. `kind` is the class of its databases."""

    def __init__(self, datasette: Datasette, path: Path, kind: Callable[..., Database]) -> None:
        self._datasette, self._path, self._kind = datasette, path, kind
        self._seen: tuple[Any, ...] | None = None
        self._n = 0
        self._looking = asyncio.Lock()
        self.shown: Database | None = None

    async def look(self) -> None:
        """Take the file again where it changed."""
        if self._signature() == self._seen:
            return
        async with self._looking:
            seen = self._signature()
            if seen == self._seen:
                return
            self._seen = seen
            if seen is None:
                return
            name = ROUTE if self._n == 0 else f"{ROUTE}-{self._n + 1}"
            self._n += 1
            try:
                holder = await asyncio.to_thread(_copied, self._path, name)
            except (sqlite3.Error, OSError, ValueError, MemoryError) as error:
                log.error("%s cannot be shown: %s; what was shown before stays", self._path, error or type(error).__name__)
                return
            self._show(name, holder)

    def _signature(self) -> tuple[Any, ...] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

    def _show(self, name: str, holder: sqlite3.Connection) -> None:
        """Make a copy the database. Datasette keeps connections by name, so a name is used once."""
        database = self._kind(self._datasette, memory_name=name)
        database.name, database.route, database.holder = name, ROUTE, holder
        before, self.shown = self.shown, database
        others = {key: other for key, other in self._datasette.databases.items() if other is not before}
        self._datasette.databases = {**others, name: database}
        if before is not None:
            asyncio.get_running_loop().call_later(AFTER_S, before.close)


class Copied(Database):
    """A database of a copy: it counts its connections, and lets the copy go with them."""

    holder: sqlite3.Connection

    def connect(self, write: bool = False) -> sqlite3.Connection:
        connection = super().connect(write)
        self._all_file_connections.append(connection)
        return connection

    def close(self) -> None:
        super().close()
        self._all_file_connections.clear()
        self.holder.close()


def described() -> dict[str, Any]:
    """Title and tables, as Datasette's metadata."""
    tables = {name: {"description": f"{grain[0].upper()}{grain[1:]}."} for name, grain in GRAINS.items()}
    return {
        "title": "Every release, its figures and what became of it",
        "description": "From the manifests; rows of releases that were pruned are kept.",
        "tables": tables,
    }


def _copied(path: Path, name: str) -> sqlite3.Connection:
    """A connection that holds a copy of the file in memory under a name. Raises ValueError if the file is no catalogue."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size >> 20} MiB, expected at most {MOST_BYTES >> 20}")
    holder = sqlite3.connect(f"file:{name}?mode=memory&cache=shared", uri=True, check_same_thread=False)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)) as source:
            source.backup(holder)
        tables = {row[0] for row in holder.execute("select name from sqlite_master where type = 'table'")}
        if not {"releases", "metrics"} <= tables:
            raise ValueError("it has no tables of releases and metrics")
        (verdict,) = holder.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise ValueError(verdict)
    except BaseException:
        holder.close()
        raise
    return holder
