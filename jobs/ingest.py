"""ingest: read a source, refuse what cannot be used, keep the latest of each (user, item), number the items.

Two passes. The first streams the files through the checks, a block at a time, into typed Parquet. The second is one Spark
shuffle: rows sorted by user and item across all parts, so that every later step finds whole users in a part and the
tables come out in key order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import functions as F

from jobs.kernels.histories import moments
from jobs.parts import collect
from jobs.progress import Progress
from jobs.session import spark_session
from jobs.sources import Batch, Catalogue, QUARANTINE_SCHEMA, Source
from jobs.sources.open import open_source
from jobs.step import Step
from schemas.derive import arrow_schema
from schemas.errors import SettingError, SourceError, StepError
from schemas.settings import Settings
from schemas.tables import IdTypes, ITEM_GENRES, ITEMS, RATINGS, USERS
from warehouse import parquet
from warehouse.layout import Release, Warehouse

ROWS_PER_PART = 500_000
MIN_HELD_OUT_HISTORY = 5
_CANONICAL = r"^(0|-?[1-9][0-9]{0,17})$"


def ingest(running: Step, warehouse: Warehouse) -> None:
    settings, release = running.settings, running.release
    as_of = _as_of(settings)
    source = open_source(settings, raw=warehouse.raw, as_of=as_of)
    read = _Reading(release)
    with Progress(f"read {source.name}", unit="rows") as progress:
        for batch in source.interactions():
            read.take(batch)
            progress.add(batch.n_read)
    catalogue = source.catalogue()
    read.close(catalogue.refused)
    _enough(read.n_accepted, settings)
    ids = read.id_types(source, catalogue)
    items = _items(catalogue, read.item_ids(), ids)
    parquet.write(release.work / "items.parquet", [items], items.schema)
    n_parts = max(2, -(-read.n_accepted // ROWS_PER_PART))
    with spark_session(settings, scratch=running.scratch) as spark:
        frame = spark.read.parquet(str(release.work / "read"))
        for role in ("user_id", "item_id"):
            if getattr(ids, role) == "int64":
                frame = frame.withColumn(role, F.col(role).cast("long"))
        write_part = _PartWriter(release, ids, settings, source.rating_scale)
        sorted_rows = frame.repartitionByRange(n_parts, "user_id").sortWithinPartitions("user_id", "item_id", "rated_at", "line")
        figures = collect(spark, sorted_rows.mapInArrow(write_part, "n_rows long"), label="sort by user", n_tasks=n_parts)
    n_kept = pc.sum(figures["n_rows"]).as_py()
    _enough(n_kept, settings)
    _finish_items(release, items, ids, n_parts, is_rated=source.rating_scale is not None)
    read.drop()
    rows = {
        "read": read.n_read, "accepted": n_kept, "duplicates": read.n_accepted - n_kept, "quarantined": read.n_refused,
    }
    if rows["read"] != rows["accepted"] + rows["duplicates"] + rows["quarantined"]:
        raise StepError(f"ingest: rows do not add up: {rows}; read must be accepted + duplicates + quarantined")
    running.figures |= {f"n_{name}": n for name, n in rows.items()}
    running.figures |= {
        "n_users": sum(map(parquet.n_rows, parquet.parts(release.work / "users"))), "n_items": len(items),
        "n_catalogue_rows": catalogue.n_read, "n_catalogue_quarantined": len(catalogue.refused),
    }
    running.facts |= {
        "as_of": as_of.isoformat(), "source": source.name, "ids": {"user_id": ids.user_id, "item_id": ids.item_id},
        "rating_scale": source.rating_scale, "n_parts": n_parts, "rows": rows, "input": _input(source.inputs),
    }


def _as_of(settings: Settings) -> datetime:
    if not settings.as_of:
        return datetime.now(timezone.utc).replace(microsecond=0)
    try:
        given = datetime.fromisoformat(settings.as_of)
    except ValueError:
        raise SettingError(f"as_of: expected a time such as 2026-01-04T02:00:00Z, got {settings.as_of!r}") from None
    return given if given.tzinfo else given.replace(tzinfo=timezone.utc)


def _enough(n: int, settings: Settings) -> None:
    if n < settings.min_interactions:
        raise SourceError(
            f"{n} usable interactions; expected at least {settings.min_interactions} (setting min_interactions). "
            "The rows that were refused, with the reason for each, were counted above: check the column names and the rating scale"
        )


class _Reading:
    """The first pass: accepted rows to part files, refused rows to the quarantine, ids remembered."""

    def __init__(self, release: Release) -> None:
        self._folder = release.work / "read"
        for old in parquet.parts(self._folder):
            old.unlink()
        self._folder.mkdir(parents=True, exist_ok=True)
        release.tables.mkdir(parents=True, exist_ok=True)
        self._quarantine = pq.ParquetWriter(release.table("quarantine"), QUARANTINE_SCHEMA, compression="zstd")
        self._item_ids: list[pa.Array] = []
        self._canonical = {"user_id": True, "item_id": True}
        self._kinds: dict[str, pa.DataType] = {}
        self.n_read = self.n_accepted = self.n_refused = self._n_parts = 0

    def take(self, batch: Batch) -> None:
        accepted = batch.accepted
        self.n_read += batch.n_read
        self.n_accepted += len(accepted)
        self.n_refused += len(batch.refused)
        self._quarantine.write_table(batch.refused.cast(QUARANTINE_SCHEMA))
        if len(accepted) == 0:
            return
        pq.write_table(accepted, parquet.part(self._folder, self._n_parts), compression="lz4")
        self._n_parts += 1
        self._item_ids.append(pc.unique(accepted["item_id"]))
        for role in self._canonical:
            self._kinds[role] = accepted[role].type
            self._canonical[role] &= _is_canonical(accepted[role])

    def close(self, refused_items: pa.Table) -> None:
        self._quarantine.write_table(refused_items.cast(QUARANTINE_SCHEMA))
        self._quarantine.close()

    def item_ids(self) -> pa.Array:
        return pc.unique(pa.chunked_array(self._item_ids))

    def id_types(self, source: Source, catalogue: Catalogue) -> IdTypes:
        """Declared by the source, else whole numbers where every id is one in its shortest form, else text."""
        found = {}
        for role, declared in (("user_id", source.user_id_type), ("item_id", source.item_id_type)):
            is_whole = self._canonical[role]
            if role == "item_id" and len(catalogue.items):
                is_whole &= _is_canonical(catalogue.items["item_id"])
            found[role] = declared or ("int64" if is_whole else "string")
        return IdTypes(**found)

    def drop(self) -> None:
        for path in parquet.parts(self._folder):
            path.unlink()


def _is_canonical(ids: pa.ChunkedArray) -> bool:
    return pa.types.is_integer(ids.type) or pc.all(pc.match_substring_regex(ids, _CANONICAL)).as_py() is not False


def _items(catalogue: Catalogue, seen: pa.Array, ids: IdTypes) -> pa.Table:
    """Catalogue items and those that only interactions name, in order of id: the row of an item is its item_num."""
    kind = ids.arrow("item_id")
    known = catalogue.items.set_column(0, "item_id", catalogue.items["item_id"].cast(kind))
    known = known.append_column("is_in_catalogue", pa.array(np.ones(len(known), bool)))
    seen = seen.cast(kind)
    new = seen.filter(pc.invert(pc.is_in(seen, value_set=known["item_id"].combine_chunks())))
    blank = pa.array([""] * len(new), pa.string())
    rest = pa.table({
        "item_id": new, "title": new.cast(pa.string()), "year": pa.nulls(len(new), pa.int64()), "genres": blank, "tags": blank,
        "description": pa.nulls(len(new), pa.string()), "is_in_catalogue": pa.array(np.zeros(len(new), bool)),
    })
    items = pa.concat_tables([known.select(rest.column_names).cast(rest.schema), rest]).combine_chunks()
    untitled = pc.or_kleene(pc.is_null(items["title"]), pc.equal(pc.utf8_trim_whitespace(pc.fill_null(items["title"], "")), ""))
    titles = pc.if_else(untitled, items["item_id"].cast(pa.string()), items["title"])
    items = items.set_column(1, "title", titles)
    for name in ("genres", "tags"):
        items = items.set_column(items.column_names.index(name), name, pc.fill_null(items[name], ""))
    return items.sort_by("item_id").combine_chunks()


class _PartWriter:
    """The second pass, as a Spark task: one part, sorted by user, item, time and line, to ratings, users and item counts."""

    def __init__(self, release: Release, ids: IdTypes, settings: Settings, scale: tuple[float, float] | None) -> None:
        self._release, self._ids, self._settings, self._is_rated = release, ids, settings, scale is not None
        for name in ("ratings", "users", "item_counts"):
            for old in parquet.parts(release.work / name):
                old.unlink()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        number = TaskContext.get().partitionId()
        rows = pa.Table.from_batches(list(batches), schema=self._schema())
        kept = self._latest(rows)
        ratings, users = self._with_held_out(kept)
        work = self._release.work
        parquet.write(parquet.part(work / "ratings", number), [ratings], ratings.schema)
        parquet.write(parquet.part(work / "users", number), [users], arrow_schema(USERS, self._ids))
        counts = _item_counts(ratings, parquet.n_rows(work / "items.parquet"))
        parquet.write(parquet.part(work / "item_counts", number), [counts], counts.schema)
        yield pa.record_batch({"n_rows": pa.array([len(ratings)], pa.int64())})

    def _schema(self) -> pa.Schema:
        return pa.schema({
            "user_id": self._ids.arrow("user_id"), "item_id": self._ids.arrow("item_id"), "rating": pa.float64(),
            "weight": pa.float64(), "rated_at": pa.int64(), "line": pa.int64(),
        })

    def _latest(self, rows: pa.Table) -> pa.Table:
        """One row a pair: the last in time; for implicit feedback its weight is the sum over the pair's events."""
        if len(rows) == 0:
            return rows
        is_last = np.ones(len(rows), bool)
        is_last[:-1] = _starts(rows["user_id"])[1:] | _starts(rows["item_id"])[1:]
        kept = rows.filter(pa.array(is_last))
        if self._is_rated or is_last.all():
            return kept
        first = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
        weights = np.add.reduceat(rows["weight"].to_numpy(), first)
        return kept.set_column(kept.column_names.index("weight"), "weight", pa.array(weights))

    def _with_held_out(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        starts = np.flatnonzero(_starts(rows["user_id"])) if len(rows) else np.zeros(0, np.int64)
        lengths = np.diff(np.append(starts, len(rows)))
        user_ids = rows["user_id"].take(pa.array(starts))
        user_of = np.repeat(np.arange(len(starts)), lengths)
        is_sampled = (lengths >= MIN_HELD_OUT_HISTORY) & (_uniform(user_ids, self._settings.seed) < self._settings.holdout_users)
        n_held = np.where(is_sampled, np.floor(lengths * self._settings.holdout_fraction), 0).astype(np.int64)
        times = rows["rated_at"].fill_null(0).to_numpy()
        order = np.lexsort((rows["line"].to_numpy(), times, user_of))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
        is_held = place >= np.repeat(lengths - n_held, lengths)
        item_ids = parquet.read(self._release.work / "items.parquet", ["item_id"])["item_id"].combine_chunks()
        numbers = pc.index_in(rows["item_id"], value_set=item_ids).cast(pa.int32())
        ratings = rows.select(RATINGS.names).append_column("item_num", numbers)
        ratings = ratings.append_column("step", pa.array(moments(times, user_of))).append_column("is_held_out", pa.array(is_held))
        return ratings, self._users(rows, user_ids, user_of, lengths, n_held)

    def _users(self, rows, user_ids, user_of, lengths, n_held) -> pa.Table:
        starts = np.cumsum(lengths) - lengths
        sums = np.bincount(user_of, rows["rating"].fill_null(0.0).to_numpy(), len(lengths))
        times = rows["rated_at"].to_numpy(zero_copy_only=False).astype(float) if len(rows) else np.zeros(0)
        first, last = (
            (np.fmin.reduceat(times, starts), np.fmax.reduceat(times, starts)) if len(rows) else (np.zeros(0), np.zeros(0))
        )
        return pa.table({
            "user_id": user_ids, "n_ratings": pa.array(lengths, pa.int64()),
            "mean_rating": pa.array(sums / np.maximum(lengths, 1)) if self._is_rated else pa.nulls(len(lengths), pa.float64()),
            "first_rated_at": _seconds(first), "last_rated_at": _seconds(last), "is_held_out": pa.array(n_held > 0),
        })


def _starts(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) True where a value differs from the one before it; the first does."""
    flat = column.combine_chunks()
    changed = pc.not_equal(flat.slice(1), flat.slice(0, len(flat) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[True], changed])


def _uniform(ids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each id that depends on nothing but the id and the seed."""
    texts = ids.cast(pa.string()).to_numpy(zero_copy_only=False).astype(object)
    return pd.util.hash_array(texts, hash_key=f"{seed:016d}", categorize=False) / 2.0**64


def _seconds(values: np.ndarray) -> pa.Array:
    return pa.array(np.nan_to_num(values).astype(np.int64), mask=np.isnan(values))


def _item_counts(ratings: pa.Table, n_items: int) -> pa.Table:
    """Per item of the part: interactions and rating sum, of all rows and of those to train on."""
    numbers, values = ratings["item_num"].to_numpy(), ratings["rating"].fill_null(0.0).to_numpy()
    train = ~ratings["is_held_out"].to_numpy(zero_copy_only=False) if len(ratings) else np.zeros(0, bool)
    n_all = np.bincount(numbers, minlength=n_items)
    found = np.flatnonzero(n_all)
    columns = {
        "item_num": found, "n_ratings": n_all, "rating_sum": np.bincount(numbers, values, n_items),
        "n_train": np.bincount(numbers[train], minlength=n_items),
        "train_sum": np.bincount(numbers[train], values[train], n_items),
    }
    return pa.table({name: column if name == "item_num" else column[found] for name, column in columns.items()})


def _finish_items(release: Release, items: pa.Table, ids: IdTypes, n_parts: int, *, is_rated: bool) -> None:
    """The items and item_genres tables, and the counts to train on; sums in the order of parts, so they repeat."""
    totals = {name: np.zeros(len(items)) for name in ("n_ratings", "rating_sum", "n_train", "train_sum")}
    for number in range(n_parts):
        counts = parquet.read(parquet.part(release.work / "item_counts", number))
        for name, total in totals.items():
            total[counts["item_num"].to_numpy()] += counts[name].to_numpy()
    n = totals["n_ratings"]
    means = pa.array(totals["rating_sum"] / np.maximum(n, 1), mask=(n == 0) | (not is_rated))
    full = items.append_column("n_ratings", pa.array(n.astype(np.int64))).append_column("mean_rating", means)
    parquet.write(release.table("items"), [full], arrow_schema(ITEMS, ids))
    genres = pc.split_pattern(items["genres"].combine_chunks(), "|")
    pairs = pa.table({"genre": pc.list_flatten(genres), "item_id": items["item_id"].take(pc.list_parent_indices(genres))})
    pairs = pairs.filter(pc.not_equal(pairs["genre"], "")).group_by(["genre", "item_id"]).aggregate([])
    pairs = pairs.sort_by([("genre", "ascending"), ("item_id", "ascending")])
    parquet.write(release.table("item_genres"), [pairs], arrow_schema(ITEM_GENRES, ids))
    np.savez(release.work / "item_counts.npz", **totals)


def _input(paths: tuple[Path, ...]) -> dict:
    """Names, sizes and digests of the input files, and one digest over them."""
    files = []
    for path in paths:
        with path.open("rb") as file:
            files.append({"name": path.name, "bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    whole = hashlib.sha256("".join(sorted(file["sha256"] for file in files)).encode()).hexdigest()
    return {"files": files, "sha256": whole}
