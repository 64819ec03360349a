"""The release's SQLite file: built once in key order, then only ever opened immutable."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from schemas.checks import all_checks
from schemas.derive import sqlite_ddl, sqlite_indexes
from schemas.tables import IdTypes, Table, TABLES

ROWS_PER_INSERT = 50_000


class Builder:
    """Writes a new database, table by table; nothing is safe until `finish`, which is why it is built aside."""

    def __init__(self, path: Path, ids: IdTypes) -> None:
        path.unlink(missing_ok=True)
        self._ids = ids
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("page_size = 8192", "journal_mode = off", "synchronous = off", "locking_mode = exclusive", "cache_size = -262144"):
            self.connection.execute(f"pragma {pragma}")

    def add(self, table: Table, blocks: Iterable[pa.Table]) -> int:
        """Create one table and insert blocks of its columns, in key order; returns the rows written.

        SQLite's own writer takes Python values, so each block's columns become them, a column at a time.
        """
        self.connection.execute(sqlite_ddl(table, self._ids))
        insert = f"insert into {table.name} values ({', '.join('?' * len(table.columns))})"
        n_rows = 0
        self.connection.execute("begin")
        for block in blocks:
            for start in range(0, len(block), ROWS_PER_INSERT):
                piece = block.slice(start, ROWS_PER_INSERT)
                self.connection.executemany(insert, zip(*(piece[name].to_pylist() for name in table.names)))
                n_rows += len(piece)
        self.connection.execute("commit")
        return n_rows

    def finish(self) -> None:
        """Secondary indexes, full-text search over titles, planner statistics."""
        for table in TABLES.values():
            for index in sqlite_indexes(table):
                self.connection.execute(index)
        self.connection.execute(
            "create virtual table items_fts using fts5(title, item_id unindexed, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')"
        )
        # Where ids are whole numbers they are the rowids too: then Datasette's own search box works on the items page.
        columns = "rowid, title, item_id" if self._ids.item_id == "int64" else "title, item_id"
        source = "item_id, title, item_id" if self._ids.item_id == "int64" else "title, item_id"
        self.connection.execute("begin")
        self.connection.execute(f"insert into items_fts ({columns}) select {source} from items order by item_id")
        self.connection.execute("insert into items_fts (items_fts) values ('optimize')")
        self.connection.execute("commit")
        self.connection.execute("analyze")
        self.connection.close()


def open_immutable(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and takes no locks, because the file never changes."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def failed_checks(connection: sqlite3.Connection, scale: tuple[float, float] | None) -> Mapping[str, list[tuple]]:
    """Name and first rows of each check of the release that found any; empty when all is well."""
    low, high = scale or (None, None)
    failed = {}
    for name, query in all_checks().items():
        rows = connection.execute(f"select * from ({query}) limit 5", {"low": low, "high": high}).fetchall()
        if rows:
            failed[name] = [tuple(row) for row in rows]
    return failed
