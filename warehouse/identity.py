"""The identity of an overlay: a random id tells two warehouses' overlays apart.

A sequence number means something only beside the overlay that gave it out. A release that was built up to the numbers of
another overlay contains nothing of this one, so every entry counts over it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import NotFound, ReleaseError
from warehouse.layout import Warehouse
from warehouse.release import read_manifest, sealed_ids

APPLICATION = 0x434D4F56  # in the file's header, where SQLite has a place for it
VERSION = 1
_LEARNED_LATER = "identity"  # what overlays of before do not have
_COLUMNS = {
    "ratings": ["seq", "user_id", "item_id", "rating", "weight", "rated_at", "received_at", "is_deleted", "is_overwrite"],
    "removals": ["n"],
    _LEARNED_LATER: ["id"],
}


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether the file holds nothing yet."""
    return not _pragma(connection, "user_version") and not _tables(connection)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises ReleaseError if the file is a database of something else, or of another version."""
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    tables, declared = _tables(connection), _COLUMNS
    if application == 0 and _LEARNED_LATER not in tables:
        declared = {name: columns for name, columns in declared.items() if name != _LEARNED_LATER}
    if application not in (0, APPLICATION) or tables != declared:
        raise ReleaseError(f"{path}: a database of something else; expected the online ratings of this program")
    if version != VERSION:
        raise ReleaseError(f"{path}: of version {version}, expected {VERSION}; it is not an overlay of this program")


def mark(connection: sqlite3.Connection) -> None:
    """Give the overlay its id, where it has none; within the caller's transaction."""
    connection.execute(f"create table if not exists {_LEARNED_LATER} (id text not null) strict")
    first = f"insert into {_LEARNED_LATER} select ? where not exists (select 1 from {_LEARNED_LATER})"  # nosec B608  # a constant
    connection.execute(first, (secrets.token_hex(8),))
    connection.execute(f"pragma application_id = {APPLICATION}")


def is_marked(connection: sqlite3.Connection) -> bool:
    return _pragma(connection, "application_id") == APPLICATION


def identity(connection: sqlite3.Connection) -> str:
    """The overlay's id; empty where it was made before there were any, and nobody has written to it since."""
    return connection.execute(f"select id from {_LEARNED_LATER}").fetchone()[0] if is_marked(connection) else ""  # nosec B608  # a constant


def contained(given: Mapping[str, Any], overlay_id: str) -> int:
    """The last of an overlay's numbers that a release contains; `given` is the `input` of its manifest."""
    is_same = overlay_id and given.get("overlay_id") == overlay_id
    return int(given.get("overlay_seq") or 0) if is_same else 0


def last_archived(warehouse: Warehouse) -> int:
    """The last sequence number in raw/online; 0 if nothing is there."""
    kept = sorted(warehouse.online.glob("part-*.parquet"))
    return int(kept[-1].stem.removeprefix("part-")) if kept else 0


def numbers_taken(warehouse: Warehouse) -> int:
    """The last sequence number that this warehouse knows of. An overlay that is begun anew, or was put back from a backup,
    goes on after it, so that no number is given out twice."""
    last = last_archived(warehouse)
    for name in sealed_ids(warehouse):
        try:
            last = max(last, int(read_manifest(warehouse.sealed(name)).input.get("overlay_seq") or 0))
        except (NotFound, ReleaseError, ValueError, TypeError):
            continue
    return last


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    names = connection.execute("select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'")
    columns = "select name from pragma_table_info(?)"
    return {name: [row[0] for row in connection.execute(columns, (name,))] for (name,) in names.fetchall()}


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"pragma {name}").fetchone()[0]
