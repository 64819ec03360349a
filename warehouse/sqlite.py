"""The release's SQLite file, opened: immutable, and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from schemas.checks import all_checks, OF_ALL_USERS
from warehouse import shards


def open_immutable(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and takes no locks, because the file never changes. Shards of a release that stand
    beside its database are attached, and their tables seen as one."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    try:
        shards.attach_beside(connection)
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def failed_checks(connection: sqlite3.Connection, scale: tuple[float, float] | None) -> Mapping[str, list[tuple]]:
    """Name and first rows of each check of the release that found any; empty when all is well.

    What a check says of users holds of those of each shard alone, where SQLite has their keys to join by.
    """
    low, high = scale or (None, None)
    n, failed = shards.n_attached(connection), {}
    for name, query in all_checks().items():
        rows = []
        for number in range(n) if n and name not in OF_ALL_USERS else [None]:
            if number is not None:
                shards.see(connection, [number])
            rows += connection.execute(f"select * from ({query}) limit 5", {"low": low, "high": high}).fetchall()
        if n and name not in OF_ALL_USERS:
            shards.see(connection, range(n))
        if rows:
            failed[name] = [tuple(row) for row in rows[:5]]
    return failed
