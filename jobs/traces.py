"""Where a user still stands in a warehouse: every file is looked into, or named as one that was not."""

from __future__ import annotations

import gzip
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ReleaseError
from schemas.tables import TABLES
from warehouse import parquet
from warehouse.layout import Release, Warehouse
from warehouse.release import current_id, read_manifest, sealed_ids
from warehouse.shards import shard_of
from warehouse.sqlite import open_immutable

FIELD = re.compile(r"::|[,;|\t\r\n]")
_LOGS_OF_SQLITE = ("-wal", "-shm", "-journal")
_UNREADABLE = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, pa.ArrowException, sqlite3.Error,
)  # fmt: skip


class Found(NamedTuple):
    """Where the id still stands, how often, and what removes it; n is None for what was not looked into."""

    place: str
    n: int | None
    remedy: str


def traces(warehouse: Warehouse, user: str) -> Iterator[Found]:
    """Every table, Parquet file, quarantine, archive and text file of the warehouse that still names the user."""
    try:
        now = current_id(warehouse)
    except ReleaseError:
        now = None
    whole = []
    for name in sealed_ids(warehouse):
        remedy = f"{'promote a new release, then ' if name == now else ''}`cinematch releases prune {name}`"
        release = warehouse.sealed(name)
        try:
            yield from _in_release(release, user, remedy)
            whole.append(release.folder)
        except (ReleaseError, *_UNREADABLE):
            continue  # damaged: its files are looked into one by one
    for path in sorted(warehouse.folder.rglob("*")):
        if path.is_file() and path != warehouse.forgotten and not any(path.is_relative_to(folder) for folder in whole):
            yield from _in_file(warehouse, path, user)


def until(warehouse: Warehouse, found: list[Found]) -> str:
    """When none of the releases found can be read any more, in a sentence; empty where none was found."""
    names = list(dict.fromkeys(one.place.split("/")[1] for one in found if one.place.startswith("releases/") and one.n))
    names = [name for name in names if name in sealed_ids(warehouse)]
    if not names:
        return ""
    is_served = current_id(warehouse) in names
    first = f"a new release is promoted in place of {current_id(warehouse)} and " if is_served else ""
    return f"readable by SQL, CSV and downloads until {first}`cinematch releases prune {' '.join(names)}` is run"


def _in_release(release: Release, user: str, remedy: str) -> Iterator[Found]:
    user_id = read_manifest(release).id_types.parse("user_id", user)
    found = []
    for table in TABLES.values():
        if "user_id" in table.names and user_id is not None:
            with closing(open_immutable(release.database)) as connection:
                n = connection.execute(f"select count(*) from {table.name} where user_id = ?", [user_id]).fetchone()[0]  # nosec B608  # schemas.tables
            databases = release.user_databases
            database = databases[shard_of(user_id, len(databases))]
            found.append(Found(f"releases/{release.id}/{database.name} {table.name}", n, remedy))
            n = parquet.count(release.table(table.name), "user_id", user_id)
            found.append(Found(f"releases/{release.id}/tables/{table.name}.parquet", n, remedy))
    texts = parquet.read(release.table("quarantine"), ["text"])["text"].to_pylist()
    n = sum(_is_named(text, user) for text in texts)
    found.append(Found(f"releases/{release.id}/tables/quarantine.parquet", n, remedy))
    yield from (one for one in found if one.n)


def _in_file(warehouse: Warehouse, path: Path, user: str) -> Iterator[Found]:
    place = path.relative_to(warehouse.folder).as_posix()
    if path.is_relative_to(warehouse.staging):
        remedy = "being built: it will not be sealed; build it again"
    elif path.is_relative_to(warehouse.raw):
        remedy = "an input as it was received: remove or replace it"
    else:
        remedy = "remove the lines, or the file"
    try:
        found = list(_counts(path, user))
    except FileNotFoundError:
        return  # of a step that is running
    except _UNREADABLE as error:
        yield Found(place, None, f"not looked into ({str(error)[:100] or type(error).__name__}): {remedy}")
        return
    for inside, n in found:
        if n is None:
            yield Found(f"{place}{inside}", None, f"not looked into: {remedy}")
        elif n:
            yield Found(f"{place}{inside}", n, remedy)


def _counts(path: Path, user: str) -> Iterator[tuple[str, int | None]]:
    """Places inside a file, and how often each names the user."""
    if path.name.endswith(_LOGS_OF_SQLITE):
        return
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1"):
        names = pq.read_schema(path).names
        yield "", parquet.count(path, "user_id", user) if "user_id" in names else 0
        texts = parquet.read(path, ["text"])["text"].to_pylist() if "text" in names else []
        yield "", sum(_is_named(text, user) for text in texts if isinstance(text, str))
    elif head.startswith(b"SQLite format 3\0"):
        yield from _in_database(path, user)
    elif head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as stream:
                        yield f" {member.filename}", _in_stream(stream, user)
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as stream:
            yield "", _in_stream(stream, user)
    elif head.startswith(b"\x93NUMPY"):
        return  # positions and parameters; ids of users are in none
    else:
        with path.open("rb") as stream:
            yield "", None if path.suffix == ".part" else _in_stream(stream, user)


def _in_database(path: Path, user: str) -> Iterator[tuple[str, int]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute(
            "select m.name from sqlite_master m join pragma_table_info(m.name) c on c.name = 'user_id' where m.type = 'table'"
        ).fetchall()
        for (table,) in tables:
            quoted = table.replace('"', '""')
            query = f'select count(*) from "{quoted}" where cast(user_id as text) = ?'  # nosec B608  # quoted, from sqlite_master itself
            n = connection.execute(query, [user]).fetchone()[0]
            yield f" {table}", n


def _in_stream(stream: Any, user: str) -> int | None:
    """Lines that name the user; None for an archive within an archive, and for what is no text."""
    if b"\0" in stream.peek(1024)[:1024]:
        return None
    return sum(_is_named(line.decode("utf-8", "replace"), user) for line in stream)


def _is_named(text: str, user: str) -> bool:
    return user in text and any(field.strip(" '\"") == user for field in FIELD.split(text))
