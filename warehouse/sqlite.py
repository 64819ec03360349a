"""The release's SQLite file, opened: immutable, and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from schemas.checks import all_checks


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
