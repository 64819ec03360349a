"""Online ratings on their way into a release: applied to the source as the server does.

The overlay is a log that is emptied once releases contain it, so every ingest first copies what is new in it to Parquet
files (`warehouse.online`), and reads all of them. A user's rows then are the source's and, in order of arrival, what came in
online, by the one `apply_log` that the server uses too.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ReleaseError
from warehouse import overlay, parquet
from warehouse.identity import contained, identity
from warehouse.layout import Warehouse
from warehouse.overlay import apply_log, Entry, Held
from warehouse.release import read_manifest, sealed_ids


def compact(warehouse: Warehouse) -> int:
    """Empty the overlay of what every release that is here contains, so that each can still be rolled back to; returns how
    many entries went. They stay in raw/online."""
    if not warehouse.overlay.exists():
        return 0
    inputs = []
    for name in sealed_ids(warehouse):
        try:
            inputs.append(read_manifest(warehouse.sealed(name)).input)
        except ReleaseError:
            continue  # damaged: no server opens it, so none will ask what came after it
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay_id = identity(connection)
        upto = min((contained(given, overlay_id) for given in inputs), default=0)
        return overlay.compact(connection, upto=upto) if upto else 0


class _Kind(NamedTuple):
    received_at: int
    is_deleted: bool
    is_overwrite: bool


class Online:
    """The facts that a Spark task needs to apply online rows to a part's rows: the kind of each sequence number."""

    def __init__(self, path: Path, *, is_implicit: bool) -> None:
        self._path, self._is_implicit = path, is_implicit

    def applied(self, base: pa.Table, arrived: pa.Table) -> pa.Table:
        """Rows of the pairs of `arrived`, applied to their rows in base; base holds one row a pair, both are sorted by user,
        item and sequence number. Every other row stays as it is."""
        if len(arrived) == 0:
            return base
        held: dict[tuple, Held] = {}
        rows: dict[tuple, list[Entry]] = {}
        kinds = self._kinds()
        for row in arrived.to_pylist():
            key, kind = (row["user_id"], row["item_id"]), kinds[row["seq"]]
            rows.setdefault(key, []).append(Entry(row["seq"], *key, row["rating"], row["weight"], row["rated_at"], *kind))
        is_met = pa.array([key in rows for key in zip(base["user_id"].to_pylist(), base["item_id"].to_pylist())], pa.bool_())
        for row in base.filter(is_met).to_pylist():
            held[row["user_id"], row["item_id"]] = Held(row["rating"], row["weight"], row["rated_at"], 0, row["n_events"])
        merged = [merged_row for key, entries in rows.items() for merged_row in self._one(key, held.get(key), entries)]
        whole = pa.concat_tables([base.filter(pc.invert(is_met)), pa.Table.from_pylist(merged, schema=base.schema)])
        return whole.sort_by([("user_id", "ascending"), ("item_id", "ascending")])

    def _one(self, key: tuple, before: Held | None, entries: list[Entry]) -> list[dict[str, Any]]:
        user_id, item_id = key
        held = apply_log({} if before is None else {item_id: before}, entries, is_implicit=self._is_implicit).get(item_id)
        if held is None:
            return []
        return [
            {
                "user_id": user_id,
                "item_id": item_id,
                "rating": held.rating,
                "weight": held.weight,
                "rated_at": held.rated_at,
                "seq": entries[-1].seq,
                "n_events": held.n_events,
            }
        ]

    def _kinds(self) -> dict[int, _Kind]:
        table = parquet.read(self._path, ["seq", *_Kind._fields])
        return dict(zip(table["seq"].to_pylist(), map(_Kind._make, zip(*(table[name].to_pylist() for name in _Kind._fields)))))
