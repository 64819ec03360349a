"""export-user: everything that a warehouse holds on one user, with where it stands, for the user to have."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from datetime import datetime, UTC
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.privacy.traces import Person, traces
from schemas.errors import NotFound, UsageError
from schemas.manifest import Manifest
from schemas.tables import IdTypes
from warehouse import forgotten, overlay, parquet
from warehouse.layout import Release, Warehouse
from warehouse.release import current, current_id
from warehouse.shards import BY_USER
from warehouse.sqlite import open_immutable


def export(warehouse: Warehouse, user: str) -> dict[str, Any]:
    """Raises UsageError for a user who was forgotten, NotFound for one whom nothing in the warehouse names."""
    if not warehouse.folder.exists():
        raise UsageError(f"{warehouse.folder}: no such warehouse")
    if user in forgotten.read(warehouse.forgotten):
        raise UsageError(
            f"user {user} was forgotten, so nothing is given out; {warehouse.erasures} has the certificate of what still names them"
        )
    places = [{"place": one.place, "rows": one.n} for one in traces(warehouse, Person(user)) if one.n]
    if not places:
        raise NotFound(f"user {user!r}: nothing in {warehouse.folder} names them; ids are written as the source has them")
    exported: dict[str, Any] = {
        "user": user,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "times": "Unix seconds, UTC",
        "release": None,
        "overlay": _overlay(warehouse, user),
        "online": [
            {"file": path.relative_to(warehouse.folder).as_posix(), **row}
            for path in parquet.parts(warehouse.online)
            for row in _of_user(path, user)
        ],
        "places": places,
    }
    if current_id(warehouse) is not None:
        exported["release"] = _release(*current(warehouse), user)
    return exported


def _release(release: Release, manifest: Manifest, user: str) -> dict[str, Any]:
    """The promoted release's rows of the user, by table, and what they were made from."""
    user_id = manifest.id_types.parse("user_id", user)
    with closing(open_immutable(release.database)) as connection:
        tables = {
            table.name: [_shown(row) for row in _rows(connection, table.name, user_id)]
            for table in BY_USER
            if table.name in manifest.tables
        }
    quarantine = parquet.read(release.table("quarantine")).to_pylist()
    return {
        "id": release.id,
        "as_of": manifest.as_of,
        "source": manifest.source,
        "files": [file["name"] for file in manifest.input.get("files", [])],
        "served_model": manifest.served_model,
        **tables,
        "quarantine": [row for row in quarantine if Person(user).names(row["text"])],
    }


def _rows(connection: sqlite3.Connection, table: str, user_id: int | str | None) -> list[sqlite3.Row]:
    """The user's rows of a table, with the titles of their items."""
    columns = [column[0] for column in connection.execute(f"select * from {table} limit 0").description]  # nosec B608  # schemas.tables
    title = ", (select title from items where items.item_id = t.item_id) as title" if "item_id" in columns else ""
    return connection.execute(f"select t.*{title} from {table} t where user_id = ?", [user_id]).fetchall()  # nosec B608  # schemas.tables


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    """A row as JSON has it; the blob of a ready list is JSON, compressed."""
    return {name: json.loads(zlib.decompress(value)) if isinstance(value, bytes) else value for name, value in dict(row).items()}


def _overlay(warehouse: Warehouse, user: str) -> list[dict[str, Any]]:
    if not warehouse.overlay.exists():
        return []
    ids = {IdTypes(user_id=kind).parse("user_id", user) for kind in ("int64", "string")} - {None}
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        rows = [row for user_id in ids for row in connection.execute("select * from ratings where user_id = ? order by seq", [user_id])]
    return [overlay.Entry(*row)._asdict() for row in rows]


def _of_user(path: Any, user: str) -> list[dict[str, Any]]:
    rows: pa.Table = parquet.read(path)
    return rows.filter(pc.equal(rows["user_id"], user)).to_pylist()
