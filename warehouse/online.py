"""raw/online: every online rating that an ingest has read, kept when the overlay is emptied, and put back where it is needed."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.manifest import Manifest
from schemas.tables import IdTypes
from warehouse import overlay, parquet
from warehouse.identity import contained, identity, last_archived
from warehouse.layout import Warehouse
from warehouse.overlay import Entry

SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rating", pa.float64()),
        ("weight", pa.float64()),
        ("rated_at", pa.int64()),
        ("received_at", pa.int64()),
        ("is_deleted", pa.bool_()),
        ("is_overwrite", pa.bool_()),
    ]
)


def archive(warehouse: Warehouse) -> str:
    """Copy what is new in the overlay to a file of its own in raw/online, named by its last sequence number; returns the
    overlay's id, empty where there is no overlay."""
    if not warehouse.overlay.exists():
        return ""
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        overlay_id = identity(connection)
        rows = [_row(entry) for entry in overlay.entries(connection, after=last_archived(warehouse))]
    if rows:
        path = warehouse.online / f"part-{rows[-1]['seq']:015d}.parquet"
        parquet.write(path, [pa.Table.from_pylist(rows, schema=SCHEMA)], SCHEMA)
    return overlay_id


def archived(warehouse: Warehouse, *, received_until: int) -> pa.Table:
    """All online ratings that had come in by a time (Unix seconds), in order of arrival."""
    whole = _after(warehouse, 0)
    return whole.filter(pc.less_equal(whole["received_at"], received_until))


def refill(warehouse: Warehouse, manifest: Manifest) -> int:
    """Put back into the overlay what it was emptied of and a release does not contain, as one that was restored may not;
    returns how many entries came back."""
    if not warehouse.overlay.exists() or not parquet.parts(warehouse.online):
        return 0
    with closing(overlay.create(warehouse.overlay)) as connection:
        after = contained(manifest.input, identity(connection))
        there = {seq for (seq,) in connection.execute("select seq from ratings where seq > ?", (after,))}
        rows = [row for row in _after(warehouse, after).to_pylist() if row["seq"] not in there]
        lacking = [entry for row in rows if (entry := _entry(row, manifest.id_types)) is not None]
        return overlay.put_back(connection, lacking) if lacking else 0


def _after(warehouse: Warehouse, number: int) -> pa.Table:
    files = [path for path in parquet.parts(warehouse.online) if int(path.stem.removeprefix("part-")) > number]
    whole = pa.concat_tables([*map(parquet.read, files), SCHEMA.empty_table()])
    return whole.filter(pc.greater(whole["seq"], number))


def _row(entry: Entry) -> dict[str, Any]:
    return entry._asdict() | {
        "user_id": str(entry.user_id),
        "item_id": str(entry.item_id),
        "is_deleted": bool(entry.is_deleted),
        "is_overwrite": bool(entry.is_overwrite),
    }


def _entry(row: dict[str, Any], ids: IdTypes) -> Entry | None:
    """A row as the overlay had it; None if its ids can be none of the release's."""
    user_id, item_id = (ids.parse(role, row[role]) for role in ("user_id", "item_id"))
    return None if user_id is None or item_id is None else Entry(**row | {"user_id": user_id, "item_id": item_id})
