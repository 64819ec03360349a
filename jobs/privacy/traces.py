"""Where a user still stands in a warehouse: every file is looked into, or named as one that was not.

Whom to look for is a `Person`, or the list of forgotten users, which knows them by digests alone.
"""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ReleaseError
from warehouse import parquet
from warehouse.forgotten import fields, Forgotten
from warehouse.layout import PAGES, Release, Warehouse
from warehouse.release import current_id, read_manifest, sealed_ids
from warehouse.shards import BY_USER, shard_of
from warehouse.sqlite import open_immutable

_USERS = ("userid", "user_id", "user")  # the column of users, where the first line of a text names columns
_ITEMS = ("movieid", "item_id", "itemid")
_LOGS_OF_SQLITE = ("-wal", "-shm", "-journal")
_UNREADABLE = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile, pa.ArrowException, sqlite3.Error,
)  # fmt: skip


class Found(NamedTuple):
    """Where the id still stands, how often, and what removes it; n is None for what was not looked into."""

    place: str
    n: int | None
    remedy: str


@dataclass(frozen=True)
class Person:
    """A user by the plain id."""

    user: str

    def __contains__(self, user_id: object) -> bool:
        return str(user_id) == self.user

    def names(self, text: str) -> bool:
        return self.user in text and self.user in fields(text)


def traces(warehouse: Warehouse, who: Person | Forgotten) -> Iterator[Found]:
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
            yield from _in_release(release, who, remedy)
            whole.append(release.folder)
        except (ReleaseError, *_UNREADABLE):
            continue  # damaged: its files are looked into one by one
    for path in sorted(warehouse.folder.rglob("*")):
        if path.is_file() and not _is_own(warehouse, path) and not any(path.is_relative_to(folder) for folder in whole):
            yield from _in_file(warehouse, path, who)


def _is_own(warehouse: Warehouse, path: Path) -> bool:
    """Whether a file names nobody by its making: digests, or a server's copy, which is made anew when anybody is forgotten."""
    is_copy = path.is_relative_to(warehouse.staging) and path.relative_to(warehouse.staging).parts[0].startswith(PAGES)
    return is_copy or path == warehouse.forgotten or path.is_relative_to(warehouse.erasures)


def until(warehouse: Warehouse, places: list[Found]) -> str:
    """When none of the releases found can be read any more, in a sentence; empty where none was found."""
    names = list(dict.fromkeys(one.place.split("/")[1] for one in places if one.place.startswith("releases/") and one.n))
    names = [name for name in names if name in sealed_ids(warehouse)]
    if not names:
        return ""
    is_served = current_id(warehouse) in names
    first = f"a new release is promoted in place of {current_id(warehouse)} and " if is_served else ""
    return f"in sealed files, which a server shows without them, until {first}`cinematch releases prune {' '.join(names)}` is run"


def _in_release(release: Release, who: Person | Forgotten, remedy: str) -> Iterator[Found]:
    tables = read_manifest(release).tables
    databases, places = release.user_databases, []
    with closing(open_immutable(release.database)) as connection:
        for user_id in [user_id for (user_id,) in connection.execute("select user_id from users") if user_id in who]:
            database = databases[shard_of(user_id, len(databases))]
            for table in (one for one in BY_USER if one.name in tables):  # a release of an earlier version has fewer
                n = connection.execute(f"select count(*) from {table.name} where user_id = ?", [user_id]).fetchone()[0]  # nosec B608  # schemas.tables
                places.append(Found(f"releases/{release.id}/{database.name} {table.name}", n, remedy))
                n = parquet.count(release.table(table.name), "user_id", user_id)
                places.append(Found(f"releases/{release.id}/tables/{table.name}.parquet", n, remedy))
    texts = parquet.read(release.table("quarantine"), ["text"])["text"].to_pylist()
    n = sum(who.names(text) for text in texts)
    places.append(Found(f"releases/{release.id}/tables/quarantine.parquet", n, remedy))
    yield from (one for one in places if one.n)


def _in_file(warehouse: Warehouse, path: Path, who: Person | Forgotten) -> Iterator[Found]:
    place = path.relative_to(warehouse.folder).as_posix()
    if path.is_relative_to(warehouse.staging):
        remedy = "being built: it will not be sealed; build it again"
    elif path.is_relative_to(warehouse.raw):
        remedy = "an input as it was received: remove or replace it"
    else:
        remedy = "remove the lines, or the file"
    try:
        counts = list(_counts(path, who))
    except FileNotFoundError:
        return  # of a step that is running
    except _UNREADABLE as error:
        yield Found(place, None, f"not looked into ({str(error)[:100] or type(error).__name__}): {remedy}")
        return
    for inside, n in counts:
        if n is None:
            yield Found(f"{place}{inside}", None, f"not looked into: {remedy}")
        elif n:
            yield Found(f"{place}{inside}", n, remedy)


def _counts(path: Path, who: Person | Forgotten) -> Iterator[tuple[str, int | None]]:
    """Places inside a file, and how often each names the user."""
    if path.name.endswith(_LOGS_OF_SQLITE):
        return
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1"):
        names = pq.read_schema(path).names
        yield "", sum(_n_of(block, who) for block in parquet.blocks(path, ["user_id"])) if "user_id" in names else 0
        texts = parquet.read(path, ["text"])["text"].to_pylist() if "text" in names else []
        yield "", sum(who.names(text) for text in texts if isinstance(text, str))
    elif head.startswith(b"SQLite format 3\0"):
        yield from _in_database(path, who)
    elif head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield from ((f" {member.filename}{inside}", n) for inside, n in _in_member(archive, member, who))
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as stream:
            yield "", _in_stream(stream, who)
    elif head.startswith(b"\x93NUMPY"):
        return  # positions and parameters; ids of users are in none
    else:
        with path.open("rb") as stream:
            yield "", None if path.suffix == ".part" else _in_stream(stream, who)


def _in_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, who: Person | Forgotten) -> Iterator[tuple[str, int | None]]:
    """A text as it is; tables and databases, as an exported release has them, are unpacked aside."""
    if not member.filename.endswith((".parquet", ".db", ".npy")):
        with archive.open(member) as stream:
            yield "", _in_stream(stream, who)
        return
    with tempfile.TemporaryDirectory(prefix="cinematch-") as folder:
        path = Path(folder) / Path(member.filename).name
        with archive.open(member) as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        yield from _counts(path, who)


def _n_of(block: pa.Table, who: Person | Forgotten) -> int:
    counted = block["user_id"].value_counts().to_pylist()
    return sum(row["counts"] for row in counted if row["values"] in who)


def _in_database(path: Path, who: Person | Forgotten) -> Iterator[tuple[str, int]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute(
            "select m.name from sqlite_master m join pragma_table_info(m.name) c on c.name = 'user_id' where m.type = 'table'"
        ).fetchall()
        for (table,) in tables:
            quoted = table.replace('"', '""')
            rows = connection.execute(f'select user_id, count(*) from "{quoted}" group by user_id')  # nosec B608  # quoted, from sqlite_master itself
            yield f" {table}", sum(n for user_id, n in rows if user_id in who)


def _in_stream(stream: Any, who: Person | Forgotten) -> int | None:
    """Lines that name the user; None for an archive within an archive, and for what is no text."""
    if b"\0" in stream.peek(1024)[:1024]:
        return None
    names = _naming(fields(stream.peek(4096)[:4096].split(b"\n")[0].decode("utf-8", "replace").lower()), who)
    return sum(names(line.decode("utf-8", "replace")) for line in stream)


def _naming(first: list[str], who: Person | Forgotten) -> Callable[[str], bool]:
    """Whether a line names the user: by the column of users where the first line names it, else by any field, since a number may
    be anybody's; never where it names items and no users."""
    place = next((first.index(name) for name in _USERS if name in first), None)
    if place is None:
        return (lambda line: False) if any(name in first for name in _ITEMS) else who.names

    def names(line: str) -> bool:
        values = fields(line)
        return len(values) > place and values[place] in who

    return names
