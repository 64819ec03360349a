"""Ingest's first pass: accepted rows to typed Parquet parts, refused rows to the quarantine, ids remembered."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.privacy.forget import leave_out
from jobs.sources import Batch, Catalogue, QUARANTINE_SCHEMA, Source
from jobs.sources.accept import OFF_SCALE
from schemas.tables import IdTypes
from warehouse import parquet
from warehouse.forgotten import Forgotten
from warehouse.layout import Release

_CANONICAL = r"^(0|-?[1-9][0-9]{0,17})$"


class Reading:
    """The first pass: accepted rows to part files, refused rows to the quarantine, ids remembered; those of users until there are more
    than few_users."""

    def __init__(self, release: Release, forgotten: Forgotten, *, few_users: int = 0) -> None:
        self._forgotten, self._few_users = forgotten, few_users
        self._folder = release.work / "read"
        for old in parquet.parts(self._folder):
            old.unlink()
        self._folder.mkdir(parents=True, exist_ok=True)
        release.tables.mkdir(parents=True, exist_ok=True)
        self._quarantined = release.table("quarantine")
        self._quarantine = pq.ParquetWriter(self._quarantined, QUARANTINE_SCHEMA, compression="zstd")
        self._item_ids: list[pa.Array] = []
        self._user_ids = pa.array([], pa.string())
        self._canonical = {"user_id": True, "item_id": True}
        self._kinds: dict[str, pa.DataType] = {}
        self.first_at: int | None = None
        self.last_at: int | None = None
        self.n_read = self.n_accepted = self.n_refused = self.n_expired = self._n_parts = self._n_forgotten = 0

    def take(self, batch: Batch) -> None:
        accepted, refused = leave_out(self._forgotten, batch, n_before=self._n_forgotten)
        self._n_forgotten += len(batch.accepted) - len(accepted)
        self.n_read += batch.n_read
        self.n_accepted += len(accepted)
        self.n_refused += len(refused)
        self.n_expired += batch.n_expired
        self._quarantine.write_table(refused.cast(QUARANTINE_SCHEMA))
        if len(accepted) == 0:
            return
        self._write(accepted.drop(["line"]), np.zeros(len(accepted), np.int64))
        self._remember(accepted["user_id"], accepted["item_id"])
        first, last = pc.min_max(accepted["rated_at"]).as_py().values()
        if first is not None:
            self.first_at = first if self.first_at is None else min(first, self.first_at)
            self.last_at = last if self.last_at is None else max(last, self.last_at)
        for role in self._canonical:
            self._kinds[role] = accepted[role].type
            self._canonical[role] &= is_canonical(accepted[role])

    def take_online(self, rows: pa.Table) -> None:
        """Online ratings: read, and never refused here, since the server has checked them. After the source's batches."""
        self.n_read += len(rows)
        self.n_accepted += len(rows)
        columns = {name: rows[name] for name in ("user_id", "item_id", "rating", "weight", "rated_at")}
        for role, kind in self._kinds.items():
            self._canonical[role] &= is_canonical(rows[role])
            if pa.types.is_integer(kind):
                columns[role] = rows[role].cast(kind)
        self._write(pa.table(columns), rows["seq"])
        self._remember(columns["user_id"], columns["item_id"])

    def _remember(self, users: pa.ChunkedArray, items: pa.ChunkedArray) -> None:
        self._item_ids.append(pc.unique(items))
        if len(self._user_ids) < self._few_users:
            self._user_ids = pc.unique(pa.chunked_array([self._user_ids, pc.unique(users).cast(pa.string())]))

    @property
    def n_users(self) -> int:
        """Return how many users were read, few_users at most."""
        return min(len(self._user_ids), self._few_users)

    def _write(self, rows: pa.Table, sequence: np.ndarray | pa.ChunkedArray) -> None:
        path = parquet.part(self._folder, self._n_parts)
        pq.write_table(
            rows.append_column("seq", pa.array(sequence) if isinstance(sequence, np.ndarray) else sequence),
            path,
            compression="lz4",
        )
        self._n_parts += 1

    def top_reasons(self, n: int = 3) -> str:
        """The reasons that most rows were refused for, with their counts."""
        counted = pc.value_counts(parquet.read(self._quarantined, ["reason"])["reason"]).to_pylist()
        counted.sort(key=lambda row: -row["counts"])
        return "; ".join(f"{row['counts']:,} times {row['values']!r}" for row in counted[:n])

    def n_off_scale(self) -> int:
        """Return how many rows were refused for a rating off the scale."""
        reasons = parquet.read(self._quarantined, ["reason"])["reason"]
        return pc.sum(pc.match_substring(reasons, OFF_SCALE)).as_py() or 0

    def close(self, refused_items: pa.Table) -> None:
        self._quarantine.write_table(refused_items.cast(QUARANTINE_SCHEMA))
        self._quarantine.close()

    def item_ids(self) -> pa.Array:
        return pc.unique(pa.chunked_array(self._item_ids))

    def id_types(self, source: Source, catalogue: Catalogue) -> IdTypes:
        """Declared by the source, else whole numbers where every id is one in its shortest form, else text."""
        types = {}
        for role, declared in (("user_id", source.user_id_type), ("item_id", source.item_id_type)):
            is_whole = self._canonical[role]
            if role == "item_id" and len(catalogue.items):
                is_whole &= is_canonical(catalogue.items["item_id"])
            types[role] = declared or ("int64" if is_whole else "string")
        return IdTypes(**types)

    def drop(self) -> None:
        for path in parquet.parts(self._folder):
            path.unlink()


def is_canonical(ids: pa.ChunkedArray) -> bool:
    """Whether all ids are whole numbers in their shortest form, so that no two of them become one."""
    return pa.types.is_integer(ids.type) or pc.all(pc.match_substring_regex(ids, _CANONICAL)).as_py() is not False
