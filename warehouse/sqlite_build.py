"""The release's SQLite file, built once, in key order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from adbc_driver_sqlite.dbapi import connect

from schemas.derive import arrow_type, sqlite_ddl, sqlite_indexes
from schemas.tables import IdTypes, ITEMS, Table

PAGE_BYTES = 8192
ROWS_PER_BATCH = 50_000


class Builder:
    """Writes a new database, table by table; nothing is safe until `finish`, which is why it is built aside.

    Rows go from Arrow to SQLite inside the ADBC driver; none becomes a Python object.
    """

    def __init__(self, path: Path, ids: IdTypes) -> None:
        path.unlink(missing_ok=True)
        self._path, self._ids = path, ids
        self._added: list[Table] = []
        with closing(sqlite3.connect(path)) as new:
            new.execute(f"pragma page_size = {PAGE_BYTES}")
            new.execute("vacuum")
        self._writer = connect(path.resolve().as_uri(), autocommit=True)
        self._execute("journal_mode = off", "synchronous = off", "locking_mode = exclusive", "cache_size = -262144")

    def _execute(self, *pragmas: str) -> None:
        with self._writer.cursor() as cursor:
            for pragma in pragmas:
                cursor.execute(f"pragma {pragma}")
                cursor.fetchall()

    def add(self, table: Table, blocks: Iterable[pa.Table]) -> int:
        """Create one table and insert blocks of its columns, in key order; returns the rows written."""
        self._added.append(table)
        schema = pa.schema([(c.name, _stored(arrow_type(c.type, self._ids))) for c in table.columns])
        batches = (batch for block in blocks for batch in block.select(table.names).cast(schema).to_batches(ROWS_PER_BATCH))
        with self._writer.cursor() as cursor:
            cursor.executescript(sqlite_ddl(table, self._ids))
            return cursor.adbc_ingest(table.name, pa.RecordBatchReader.from_batches(schema, batches), mode="append")

    def finish(self) -> None:
        """Secondary indexes, full-text search over titles, planner statistics."""
        self._writer.close()
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("pragma journal_mode = off")
            connection.execute("pragma synchronous = off")
            self._index(connection)

    def _index(self, connection: sqlite3.Connection) -> None:
        for table in self._added:
            for index in sqlite_indexes(table):
                connection.execute(index)
        if ITEMS in self._added:
            self._index_titles(connection)
        connection.execute("analyze")

    def _index_titles(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "create virtual table items_fts using fts5(title, item_id unindexed, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')"
        )
        connection.execute("begin")
        connection.execute("insert into items_fts (rowid, title, item_id) select rowid, title, item_id from items order by item_id")
        connection.execute("insert into items_fts (items_fts) values ('optimize')")
        connection.execute("commit")


def fill(path: Path, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert the few rows of a table that could not be known before the database was finished."""
    values = ", ".join(f":{name}" for name in table.names)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"insert into {table.name} values ({values})", rows)  # nosec B608  # schemas.tables


def _stored(kind: pa.DataType) -> pa.DataType:
    """SQLite has no booleans: they are 0 and 1."""
    return pa.int64() if pa.types.is_boolean(kind) else kind
