"""The file that holds a user: the tables of users may be cut into several databases, by a hash of the user's id.

The hash is CRC-32 of the id as text, the same everywhere and for ever, so that whoever looks for a user finds the file that
the build put them into. A release of one shard has everything in cinematch.db, and of more only what is about items.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import Table, TABLES
from warehouse.layout import Release

BY_USER: tuple[Table, ...] = tuple(table for table in TABLES.values() if table.is_by_user)


def shard_of(user_id: int | str, n: int) -> int:
    """The number, below n, of the shard that a user is in."""
    return crc32(str(user_id).encode()) % n


def rows_of_shard(rows: pa.Table, number: int, n: int) -> pa.Table:
    """The rows whose users are in a shard."""
    users = pc.unique(rows["user_id"])
    mine = pa.array([user for user in users.to_pylist() if shard_of(user, n) == number], users.type)
    return rows.filter(pc.is_in(rows["user_id"], value_set=mine))


def attach_beside(connection: sqlite3.Connection) -> None:
    """Where shards stand beside the connection's cinematch.db, make their tables one each, as views of this connection."""
    path = Path(connection.execute("pragma database_list").fetchone()[2])
    release = Release(path.parent)
    if path.name != release.database.name or not release.shards:
        return
    for number, shard in enumerate(release.shards):
        connection.execute(f"attach database ? as shard_{number}", [f"{shard.resolve().as_uri()}?mode=ro&immutable=1"])
    see(connection, range(len(release.shards)))


def see(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Show only the users of these attached shards."""
    shown = list(numbers)
    for table in BY_USER:
        parts = " union all ".join(f"select * from shard_{number}.{table.name}" for number in shown)  # nosec B608  # schemas.tables
        connection.execute(f"drop view if exists temp.{table.name}")
        connection.execute(f"create temp view {table.name} as {parts}")


def n_attached(connection: sqlite3.Connection) -> int:
    """Return how many shards a connection has."""
    return sum(row[1].startswith("shard_") for row in connection.execute("pragma database_list").fetchall())
