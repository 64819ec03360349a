"""forget: a user out of the overlay, out of every later release, and a report of where the id still stands.

Sealed releases are not changed: they are kept out of sight by the server, and go when they are pruned. The report names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.sources import Batch, QUARANTINE_SCHEMA
from schemas.errors import UsageError
from schemas.tables import TABLES
from warehouse import forgotten, overlay, parquet
from warehouse.forgotten import Forgotten
from warehouse.layout import Release, Warehouse
from warehouse.release import current_id, read_manifest, sealed_ids
from warehouse.shards import shard_of
from warehouse.sqlite import open_immutable

REASON = "the user is forgotten"
FILED_UNDER = "forgotten"
_FIELD = re.compile(r"::|[,;|\t\r\n]")


class Found(NamedTuple):
    """Where the id still stands, how often, and what removes it."""

    place: str
    n: int
    remedy: str


def forget(warehouse: Warehouse, user: str) -> list[Found]:
    """Forget a user, then report what of the warehouse still names them. Twice does no harm."""
    if not warehouse.folder.exists():
        raise UsageError(f"{warehouse.folder}: no such warehouse")
    forgotten.add(warehouse, user)
    if warehouse.overlay.exists():
        with closing(overlay.create(warehouse.overlay)) as connection:
            for user_id in {user, *([int(user)] if re.fullmatch(r"-?\d{1,18}", user) else [])}:
                overlay.forget(connection, user_id)
    for path in parquet.parts(warehouse.online):
        rows = parquet.read(path)
        kept = rows.filter(pc.not_equal(rows["user_id"], user))
        if len(kept) < len(rows):
            parquet.write(path, [kept], rows.schema)
    return list(report(warehouse, user))


def leave_out(known: Forgotten, batch: Batch) -> tuple[pa.Table, pa.Table]:
    """Accepted and refused rows of a batch, with forgotten users' rows moved to the refused ones, without their text."""
    if not known:
        return batch.accepted, batch.refused
    users = pc.unique(batch.accepted["user_id"])
    gone = pa.array([user for user in users.to_pylist() if user in known], users.type)
    is_gone = pc.is_in(batch.accepted["user_id"], value_set=gone)
    lines = batch.accepted.filter(is_gone)["line"].to_pylist()
    moved = pa.table(
        [[FILED_UNDER] * len(lines), lines, [""] * len(lines), [REASON] * len(lines)], schema=QUARANTINE_SCHEMA
    )
    texts = ["" if _names(known, text) else text for text in batch.refused["text"].to_pylist()]
    refused = batch.refused.set_column(2, QUARANTINE_SCHEMA.field("text"), pa.array(texts, pa.string()))
    return batch.accepted.filter(pc.invert(is_gone)), pa.concat_tables([refused.cast(QUARANTINE_SCHEMA), moved])


def _names(known: Forgotten, text: str) -> bool:
    """Whether a field of a refused line is a forgotten user's id."""
    return any(field.strip(" '\"") in known for field in _FIELD.split(text))


def report(warehouse: Warehouse, user: str) -> Iterator[Found]:
    """Every table, Parquet file, quarantine and text file of the warehouse that still names the user."""
    now = current_id(warehouse)
    for name in sealed_ids(warehouse):
        remedy = "build and promote a new release, then prune" if name == now else "cinematch releases prune --keep 1"
        yield from _in_release(warehouse.sealed(name), user, remedy)
    for path in sorted(warehouse.folder.rglob("*")):
        if path.is_file() and not path.is_relative_to(warehouse.releases) and path != warehouse.forgotten:
            n = _in_file(path, user)
            if n:
                inside = path.relative_to(warehouse.folder).as_posix()
                yield Found(
                    inside,
                    n,
                    "an input as it was received: remove or replace it"
                    if inside.startswith("raw/")
                    else "remove the lines",
                )


def _in_release(release: Release, user: str, remedy: str) -> Iterator[Found]:
    user_id = read_manifest(release).id_types.parse("user_id", user)
    for table in TABLES.values():
        if "user_id" in table.names and user_id is not None:
            with closing(open_immutable(release.database)) as connection:
                n = connection.execute(f"select count(*) from {table.name} where user_id = ?", [user_id]).fetchone()[0]
            databases = release.user_databases
            database = databases[shard_of(user_id, len(databases))]
            yield from _if_any(f"releases/{release.id}/{database.name} {table.name}", n, remedy)
            n = parquet.count(release.table(table.name), "user_id", user_id)
            yield from _if_any(f"releases/{release.id}/tables/{table.name}.parquet", n, remedy)
    texts = parquet.read(release.table("quarantine"), ["text"])["text"].to_pylist()
    n = sum(_is_named(text, user) for text in texts)
    yield from _if_any(f"releases/{release.id}/tables/quarantine.parquet", n, remedy)


def _if_any(place: str, n: int, remedy: str) -> Iterator[Found]:
    if n:
        yield Found(place, n, remedy)


def _is_named(text: str, user: str) -> bool:
    return any(field.strip(" '\"") == user for field in _FIELD.split(text))


def _in_file(path: Path, user: str) -> int:
    """Rows or lines of a file outside the releases that name the user; a database and an archive are looked into by their own means."""
    if path.suffix == ".parquet":
        names = pq.read_schema(path).names
        return parquet.count(path, "user_id", user) if "user_id" in names else 0
    if path.suffix in (".db", ".zip", ".gz", ".part") or path.name.endswith(("-wal", "-shm")):
        return 0
    with path.open(encoding="utf-8", errors="replace") as file:
        return sum(_is_named(line, user) for line in file)
