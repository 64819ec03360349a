"""DuckDB on a warehouse: the tables of a release as views, and those of every sealed release, each row with its release.

    main.<table>        the release that was asked for
    releases.<table>    all sealed releases, with the column `release` first
    releases.served     which release was served from when until when; `until` is null for the current one

Views read the Parquet files, so nothing is copied and nothing can be changed. Users who asked to be forgotten are left out of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import CineMatchError, ReleaseError
from schemas.tables import QUARANTINE, Table, TABLES
from warehouse import forgotten
from warehouse.forgotten import Forgotten
from warehouse.history import promotions
from warehouse.layout import Release, Warehouse
from warehouse.release import check_there, damaged, digest, named, read_manifest, sealed_ids

_PARAMETER = re.compile(r"'(?:[^']|'')*'|(?<![:\w]):([a-z_]\w*)")


def connect(warehouse: Warehouse, name: str = "current") -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory, with the views. `name` is the id of a release, `current` or `latest`. Raises NotFound, ReleaseError."""
    script = views(warehouse, name)
    connection = duckdb.connect()
    try:
        connection.execute(script)
    except duckdb.Error as error:
        connection.close()
        raise damage(warehouse, name, error) or error from None
    return connection


def over(files: Mapping[str, Iterable[Path]], scratch: Path, *, memory_mib: int, n_threads: int) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory over tables of a release that is not sealed yet, each from its files. What needs more memory goes through
    the folder `scratch`, which is made if need be."""
    connection = duckdb.connect(config={"memory_limit": f"{memory_mib}MiB", "threads": n_threads, "temp_directory": str(scratch)})
    for name, paths in files.items():
        listed = ", ".join(_text(str(path.absolute())) for path in paths)
        connection.execute(f"create view {name} as select * from read_parquet([{listed}])")  # nosec B608  # schemas.tables, quoted paths
    return connection


def damage(warehouse: Warehouse, name: str, error: duckdb.Error) -> ReleaseError | None:
    """Return what is wrong with a Parquet file where DuckDB failed because of one, looked for in the named release first; None where
    the query is to blame. Files are read whole, to compare their digests."""
    if not (type(error) is duckdb.Error or isinstance(error, duckdb.IOException) or "file" in str(error).lower()):
        return None  # DuckDB's reader of Parquet has no class of its own for what is damaged
    asked = named(warehouse, name)
    for release_id in sorted(sealed_ids(warehouse), key=lambda one: one != asked):
        release = warehouse.sealed(release_id)
        try:
            files = read_manifest(release).files
        except CineMatchError:  # of another release; its tables need no manifest to be read
            continue
        for table in TABLES:
            path = release.table(table)
            file = path.relative_to(release.folder).as_posix()
            if file in files and (what := _wrong(path, files[file])):
                return damaged(release, file, what)
    return None


def _wrong(path: Path, sealed: Mapping[str, Any]) -> str:
    """Say what is wrong with a file; empty where it is as it was sealed."""
    try:
        return "" if path.stat().st_size == sealed["bytes"] and digest(path) == sealed else "is damaged: it is not as it was sealed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def views(warehouse: Warehouse, name: str = "current") -> str:
    """Return the SQL that makes the views, for any program that embeds DuckDB. Raises NotFound, ReleaseError."""
    release_id, known = named(warehouse, name), forgotten.read(warehouse.forgotten)
    asked = warehouse.sealed(release_id)
    check_there(asked, read_manifest(asked), asked.tables)
    sealed = [warehouse.sealed(one) for one in sealed_ids(warehouse)]
    rows = {(table.name, release.id): _rows(release, table, known) for release in sealed for table in TABLES.values()}
    lines = [f"create view {name} as {rows[name, release_id]};" for name in TABLES if asked.table(name).exists()]
    lines.append("create schema releases;")
    for name in TABLES:
        having = [release for release in sealed if release.table(name).exists()]  # one of an older version may lack a table
        of_all = [f"select {_text(release.id)} as release, * from ({rows[name, release.id]})" for release in having]  # nosec B608  # quoted
        if of_all:
            lines.append(f"create view releases.{name} as {' union all by name '.join(of_all)};")
    return "\n".join([*lines, _served(warehouse)]) + "\n"


def parameters(query: str) -> tuple[str, list[str]]:
    """Return a query of `warehouse/sql` with its parameters (`:user_id`) as DuckDB writes them (`$user_id`), and their names."""
    names: dict[str, None] = {}

    def as_duckdb_writes(match: re.Match[str]) -> str:
        if match[1] is None:  # a text
            return match[0]
        names[match[1]] = None
        return f"${match[1]}"

    return _PARAMETER.sub(as_duckdb_writes, query), list(names)


def _rows(release: Release, table: Table, known: Forgotten) -> str:
    source = f"read_parquet({_text(str(release.table(table.name).absolute()))})"
    if table.is_by_user and (users := forgotten.named_in(release, known)):
        return f"select * from {source} where user_id not in ({', '.join(map(_value, users))})"  # nosec B608  # quoted by _value
    if table is QUARANTINE and (lines := forgotten.refused_of(release, known)):
        return f"select * replace (case when (source, line) in ({_pairs(lines)}) then '' else text end as text) from {source}"  # nosec B608  # quoted by _value
    return f"select * from {source}"  # nosec B608  # quoted by _text


def _served(warehouse: Warehouse) -> str:
    entries = promotions(warehouse)
    times = [_value(entry["at"]) for entry in entries]
    spans = [f"({_value(entry['release'])}, {since}, {until})" for entry, since, until in zip(entries, times, [*times[1:], "null"])]
    some = f"values {', '.join(spans)}" if spans else "select null, null, null where false"
    columns = "release, since::timestamptz as since, until::timestamptz as until"
    return f"create view releases.served as select {columns} from ({some}) as spans(release, since, until);"  # nosec B608  # quoted by _value


def _pairs(rows: Iterable[tuple[Any, ...]]) -> str:
    return ", ".join(f"({', '.join(map(_value, row))})" for row in rows)


def _value(value: int | str) -> str:
    return _text(value) if isinstance(value, str) else str(int(value))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
