"""The release's SQLite file, opened: immutable, and checked."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.checks import all_checks, Check, ERROR, OF_ALL_USERS
from schemas.setting_groups import OFF
from warehouse import shards

SAMPLED = 5  # rows of each check that are looked at
CUT = 100  # characters of a value in a sample


@dataclass(frozen=True)
class Result:
    """How many rows a check found, the first of them, and their columns."""

    name: str
    check: Check
    n_rows: int
    first: list[tuple[Any, ...]]
    columns: list[str]

    @property
    def is_failed(self) -> bool:
        return self.n_rows > 0 and self.check.severity == ERROR

    def row(self) -> dict[str, Any]:
        """A row of the table `checks`."""
        sample = [dict(zip(self.columns, map(_shown, values))) for values in self.first]
        return {
            "name": self.name,
            "table_name": self.check.table,
            "severity": self.check.severity,
            "n_rows": self.n_rows,
            "sample": json.dumps(sample, ensure_ascii=False),
        }


def _shown(value: Any) -> Any:
    """A value as JSON has it; a long text cut, and of bytes their number."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if not isinstance(value, str) or len(value) <= CUT else f"{value[:CUT]}…"


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


def failed_checks(
    connection: sqlite3.Connection, scale: tuple[float, float] | None, repeats: str = OFF
) -> Mapping[str, list[tuple[Any, ...]]]:
    """Name and first rows of each check of the release that found any, warnings left out; empty when all is well."""
    errors = [name for name, check in all_checks().items() if check.severity == ERROR]
    return {found.name: found.first for found in results(connection, scale, errors, repeats) if found.n_rows}


def results(connection: sqlite3.Connection, scale: tuple[float, float] | None, names: Iterable[str], repeats: str = OFF) -> list[Result]:
    """Run the checks of these names, one after the other."""
    return [_run(connection, name, scale, repeats) for name in names]


def results_of(
    path: Path,
    scale: tuple[float, float] | None,
    *,
    n_threads: int,
    repeats: str = OFF,
    done: Callable[[int], None] = lambda n: None,
) -> list[Result]:
    """Run every check, several at a time, each thread with a connection of its own: SQLite leaves Python alone while it scans. `done` hears of
    each check that has ended."""
    waiting, by_check = iter(all_checks()), {}

    def work() -> None:
        with closing(open_immutable(path)) as connection:
            for name in waiting:  # shared: a thread takes the next that none has taken
                by_check[name] = _run(connection, name, scale, repeats)
                done(1)

    with ThreadPoolExecutor(n_threads) as pool:
        for worker in [pool.submit(work) for _ in range(n_threads)]:
            worker.result()
    return [by_check[name] for name in all_checks()]


def _run(connection: sqlite3.Connection, name: str, scale: tuple[float, float] | None, repeats: str) -> Result:
    """Run a check; all its rows are counted only where there are many. What a check says of users holds of those of each shard alone,
    where SQLite has their keys to join by."""
    check, (low, high) = all_checks()[name], scale or (None, None)
    n, n_rows = shards.n_attached(connection), 0
    values = {"low": low, "high": high, "repeats": repeats}
    first: list[tuple[Any, ...]] = []
    for number in range(n) if n and name not in OF_ALL_USERS else [None]:
        if number is not None:
            shards.see(connection, [number])
        found = connection.execute(f"select * from ({check.query}) limit {SAMPLED}", values)  # nosec B608  # schemas.checks
        rows, columns = [tuple(row) for row in found], [column[0] for column in found.description]
        first += rows[: SAMPLED - len(first)]
        if len(rows) == SAMPLED:
            counted = connection.execute(f"select count(*) from ({check.query})", values)  # nosec B608  # schemas.checks
            n_rows += counted.fetchone()[0]
        else:
            n_rows += len(rows)
    if n and name not in OF_ALL_USERS:
        shards.see(connection, range(n))
    return Result(name, check, n_rows, first, columns)
