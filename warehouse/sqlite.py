"""The release's SQLite file, opened: immutable, and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

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


def failed_checks(connection: sqlite3.Connection, scale: tuple[float, float] | None) -> Mapping[str, list[tuple[Any, ...]]]:
    """Name and first rows of each check of the release that found any; empty when all is well."""
    by_check = {name: _first_rows(connection, name, scale) for name in all_checks()}
    return {name: rows for name, rows in by_check.items() if rows}


def failed_checks_of(
    path: Path, scale: tuple[float, float] | None, *, n_threads: int, done: Callable[[int], None] = lambda n: None
) -> Mapping[str, list[tuple[Any, ...]]]:
    """Run the checks several at a time, each thread with a connection of its own: SQLite leaves Python alone while it scans. `done` hears of
    each check that has ended."""
    waiting, by_check = iter(all_checks()), {}

    def work() -> None:
        with closing(open_immutable(path)) as connection:
            for name in waiting:  # shared: a thread takes the next that none has taken
                by_check[name] = _first_rows(connection, name, scale)
                done(1)

    with ThreadPoolExecutor(n_threads) as pool:
        for worker in [pool.submit(work) for _ in range(n_threads)]:
            worker.result()
    return {name: by_check[name] for name in all_checks() if by_check[name]}


def _first_rows(connection: sqlite3.Connection, name: str, scale: tuple[float, float] | None) -> list[tuple[Any, ...]]:
    """Return the first rows that a check finds. What a check says of users holds of those of each shard alone, where SQLite has their keys to join by."""
    query, (low, high) = f"select * from ({all_checks()[name]}) limit 5", scale or (None, None)  # nosec B608  # a query of schemas.checks
    n, rows = shards.n_attached(connection), []
    for number in range(n) if n and name not in OF_ALL_USERS else [None]:
        if number is not None:
            shards.see(connection, [number])
        rows += connection.execute(query, {"low": low, "high": high}).fetchall()
    if n and name not in OF_ALL_USERS:
        shards.see(connection, range(n))
    return [tuple(row) for row in rows[:5]]
