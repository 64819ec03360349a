"""Online ratings on their way into a release: kept for good in raw/online, and folded over the source like the server does.

The overlay is a log that is emptied once releases contain it, so every ingest first copies what is new in it to Parquet
files, and reads all of them. A user's rows then are the source's and, in order of arrival, what came in online, by the one
`fold` that the server uses too.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from warehouse import overlay, parquet
from warehouse.layout import Warehouse
from warehouse.overlay import Entry, fold, Held
from warehouse.release import read_manifest, sealed_ids

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


def archive(warehouse: Warehouse) -> None:
    """Copy what is new in the overlay to a file of its own in raw/online, named by its last sequence number."""
    if not warehouse.overlay.exists():
        return
    kept = parquet.parts(warehouse.online)
    last = int(kept[-1].stem.removeprefix("part-")) if kept else 0
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        rows = [_row(entry) for entry in overlay.entries(connection, after=last)]
    if rows:
        path = warehouse.online / f"part-{rows[-1]['seq']:015d}.parquet"
        parquet.write(path, [pa.Table.from_pylist(rows, schema=SCHEMA)], SCHEMA)


def _row(entry: Entry) -> dict[str, Any]:
    return entry._asdict() | {
        "user_id": str(entry.user_id),
        "item_id": str(entry.item_id),
        "is_deleted": bool(entry.is_deleted),
        "is_overwrite": bool(entry.is_overwrite),
    }


def compact(warehouse: Warehouse) -> int:
    """Empty the overlay of what every release that is here contains, so that each can still be rolled back to; returns how
    many entries went. They stay in raw/online."""
    if not warehouse.overlay.exists():
        return 0
    contained = [read_manifest(warehouse.sealed(name)).input.get("overlay_seq", 0) for name in sealed_ids(warehouse)]
    with closing(overlay.create(warehouse.overlay)) as connection:
        return overlay.compact(connection, upto=min(contained)) if contained and min(contained) else 0


def archived(warehouse: Warehouse, *, received_until: int) -> pa.Table:
    """All online ratings that had come in by a time (Unix seconds), in order of arrival."""
    tables = [parquet.read(path) for path in parquet.parts(warehouse.online)]
    whole = pa.concat_tables([*tables, SCHEMA.empty_table()])
    return whole.filter(pc.less_equal(whole["received_at"], received_until))


class _Kind(NamedTuple):
    received_at: int
    is_deleted: bool
    is_overwrite: bool


class Online:
    """What a Spark task needs to fold online rows over a part's rows: the kind of each sequence number."""

    def __init__(self, path: Path, *, is_implicit: bool) -> None:
        self._path, self._is_implicit = path, is_implicit

    def folded(self, base: pa.Table, arrived: pa.Table) -> pa.Table:
        """Rows of the pairs of `arrived` folded over their rows in base; base holds one row a pair, both are sorted by user,
        item and sequence number. Every other row stays as it is."""
        if len(arrived) == 0:
            return base
        held: dict[tuple, Held] = {}
        rows: dict[tuple, list[Entry]] = {}
        kinds = self._kinds()
        for row in arrived.to_pylist():
            key, kind = (row["user_id"], row["item_id"]), kinds[row["seq"]]
            rows.setdefault(key, []).append(
                Entry(row["seq"], *key, row["rating"], row["weight"], row["rated_at"], *kind)
            )
        is_met = pa.array(
            [key in rows for key in zip(base["user_id"].to_pylist(), base["item_id"].to_pylist())], pa.bool_()
        )
        for row in base.filter(is_met).to_pylist():
            held[row["user_id"], row["item_id"]] = Held(row["rating"], row["weight"], row["rated_at"])
        merged = [found for key, entries in rows.items() for found in self._one(key, held.get(key), entries)]
        whole = pa.concat_tables([base.filter(pc.invert(is_met)), pa.Table.from_pylist(merged, schema=base.schema)])
        return whole.sort_by([("user_id", "ascending"), ("item_id", "ascending")])

    def _one(self, key: tuple, before: Held | None, entries: list[Entry]) -> list[dict[str, Any]]:
        user_id, item_id = key
        found = fold({} if before is None else {item_id: before}, entries, is_implicit=self._is_implicit).get(item_id)
        if found is None:
            return []
        return [
            {
                "user_id": user_id,
                "item_id": item_id,
                "rating": found.rating,
                "weight": found.weight,
                "rated_at": found.rated_at,
                "line": entries[-1].seq,
                "seq": entries[-1].seq,
            }
        ]

    def _kinds(self) -> dict[int, _Kind]:
        table = parquet.read(self._path, ["seq", *_Kind._fields])
        return dict(
            zip(table["seq"].to_pylist(), map(_Kind._make, zip(*(table[name].to_pylist() for name in _Kind._fields))))
        )
