"""Ingest's second pass, in Spark: parts of whole users, sorted by user and item, each to ratings, users and item counts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame, functions as F

from jobs.ingest import draws
from jobs.ingest.overlay_archive import Online
from jobs.kernels.histories import moments_of
from jobs.staging.histories import CUT, TEST, TRAIN, VALIDATION
from schemas.derive import arrow_schema
from schemas.setting_groups import OFF
from schemas.settings import Settings
from schemas.tables import IdTypes, RATINGS, USERS
from warehouse import parquet
from warehouse.layout import Release

MIN_HELD_OUT_HISTORY = 5
MOST_OF_FEW = 0.3  # of few users, are held out: what they rated last is in no training
VALIDATION_SHARE = 0.4  # of the users who are held out: to choose hyper-parameters by; the others are measured on
SAMPLE_A_PART = 1_000  # rows
ORDER = ("user_id", "item_id", "seq", "rated_at", "rating", "weight")


def by_user(frame: DataFrame, n_parts: int, *, n_rows: int) -> DataFrame:
    """The rows in parts of whole users, about as many in each, sorted by user, item, sequence number, time, rating and weight.

    Nothing here depends on where a row stood in its file. Users are cut by a sample that depends on the rows alone. Spark's repartitionByRange draws one that depends on what
    else the session did, and sums over parts would then differ from run to run in their last bits.
    """
    one_in = max(1, n_rows // (n_parts * SAMPLE_A_PART))
    sample = frame.where(F.pmod(F.xxhash64("user_id", "item_id", "rated_at"), F.lit(one_in)) == 0).select("user_id")
    ids = sample.toArrow()["user_id"].combine_chunks()
    ids = ids.take(pc.sort_indices(ids))
    bounds = [ids[len(ids) * number // n_parts].as_py() for number in range(1, n_parts)]
    parts = frame.withColumn("part", _part_of(bounds, 0, n_parts - 1)).repartitionById(n_parts, F.col("part"))
    return parts.drop("part").sortWithinPartitions(*ORDER)


def _part_of(bounds: list, first: int, last: int) -> Column:
    """Return which of the parts first..last a user belongs to, by halves; bounds[k] is the first user of part k + 1."""
    if first == last:
        return F.lit(first)
    middle = (first + last) // 2
    return F.when(F.col("user_id") < bounds[middle], _part_of(bounds, first, middle)).otherwise(_part_of(bounds, middle + 1, last))


def few_users(settings: Settings) -> int:
    """Up to how many users are so few that more of them are held out than the share that is set."""
    return math.ceil(settings.holdout_least / settings.holdout_users) if settings.holdout_users else 0


def held_out_share(settings: Settings, n_users: int) -> float:
    """The share of the users that are held out: as set, and of few users more, so that there are enough to judge by. It moves by
    twentieths, so that a week's change of the number of users leaves it as it is."""
    if n_users >= few_users(settings):
        return settings.holdout_users
    return max(settings.holdout_users, min(math.ceil(20 * settings.holdout_least / n_users) / 20, MOST_OF_FEW))


def is_validation(user_ids: pa.Array | pa.ChunkedArray, settings: Settings, *, n_users: int) -> np.ndarray:
    """Tell by whose held-out rows a release of n_users users chooses its models and their hyper-parameters, (n,) bool."""
    return draws.of_ids(user_ids, settings.seed) / 2.0**64 < held_out_share(settings, n_users) * VALIDATION_SHARE


class PartWriter:
    """Takes one part of by_user."""

    def __init__(self, release: Release, ids: IdTypes, settings: Settings, scale: tuple[float, float] | None, *, n_users: int) -> None:
        self._release, self._ids, self._settings, self._is_rated = release, ids, settings, scale is not None
        self._share, self._is_by_events = held_out_share(settings, n_users), settings.repeats != OFF
        self._online = Online(release.work / "online.parquet", is_implicit=scale is None)
        for name in ("ratings", "users", "item_counts", CUT):
            for old in parquet.parts(release.work / name):
                old.unlink()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        n = self.write(TaskContext.get().partitionId(), pa.Table.from_batches(list(batches), schema=self.schema()))
        yield pa.record_batch({"n_rows": pa.array([n], pa.int64())})

    def write(self, number: int, rows: pa.Table) -> int:
        """Write a part from its sorted rows; returns how many are kept."""
        kept, work = self._one_a_pair(rows), self._release.work
        if self._is_by_events:
            ratings, users, cut = self._cut_by_events(rows, kept)
            parquet.write(parquet.part(work / CUT, number), [cut], cut.schema)
        else:
            ratings, users = self._with_held_out(kept)
            cut = ratings
        parquet.write(parquet.part(work / "ratings", number), [ratings], ratings.schema)
        parquet.write(parquet.part(work / "users", number), [users], arrow_schema(USERS, self._ids))
        counts = _item_counts(ratings, cut, parquet.n_rows(work / "items.parquet"))
        parquet.write(parquet.part(work / "item_counts", number), [counts], counts.schema)
        return len(ratings)

    def schema(self) -> pa.Schema:
        return pa.schema(
            {
                "user_id": self._ids.arrow("user_id"),
                "item_id": self._ids.arrow("item_id"),
                "rating": pa.float64(),
                "weight": pa.float64(),
                "rated_at": pa.int64(),
                "seq": pa.int64(),
            }
        )

    def _one_a_pair(self, rows: pa.Table) -> pa.Table:
        """Return what users have in the end of events sorted by user, item, sequence number and time, with how many events a pair has."""
        is_online = pc.greater(rows["seq"], 0)
        return self._online.applied(self._latest(rows.filter(pc.invert(is_online))), rows.filter(is_online))

    def _latest(self, rows: pa.Table) -> pa.Table:
        """One row a pair: the last in time, of one moment the highest rating; for implicit feedback its weight is the sum over the pair's events."""
        if len(rows) == 0:
            return rows.append_column("n_events", pa.array([], pa.int64()))
        is_last = np.ones(len(rows), bool)
        is_last[:-1] = _starts(rows["user_id"])[1:] | _starts(rows["item_id"])[1:]
        kept = rows.filter(pa.array(is_last))
        first = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
        is_new = _starts(rows["rated_at"].fill_null(-1))
        is_new[first] = True
        kept = kept.append_column("n_events", pa.array(np.add.reduceat(is_new.astype(np.int64), first)))
        if self._is_rated or is_last.all():
            return kept
        weights = np.add.reduceat(rows["weight"].to_numpy(), first)
        return kept.set_column(kept.column_names.index("weight"), "weight", pa.array(weights))

    def _cut_by_events(self, events: pa.Table, rows: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return ratings, users, and the cut: a row for what each pair was before the last moments of the users who are held out, and one for
        what it became in them. A pair that was had again is on both sides, each with its own events.
        """
        user_ids, user_of, lengths, of_users = self._users_of(rows)
        draw = of_users / 2.0**64
        events = events.filter(pc.is_in(events["user_id"], value_set=user_ids))
        event_of = _places(events["user_id"], user_ids)
        moments = moments_of(events["rated_at"].fill_null(0).to_numpy(), event_of)
        n_moments = np.zeros(len(user_ids), np.int64)
        np.maximum.at(n_moments, event_of, moments + 1)
        is_sampled = (lengths >= MIN_HELD_OUT_HISTORY) & (n_moments > 1) & (draw < self._share) & (self._settings.holdout_fraction > 0)
        n_held = np.where(is_sampled, np.maximum(np.floor(n_moments * self._settings.holdout_fraction), 1), 0).astype(np.int64)
        is_late = moments >= (n_moments - n_held)[event_of]
        whole = self._numbered(rows, user_of)
        sides = []
        for mask in (~is_late, is_late):
            side = self._one_a_pair(events.filter(pa.array(mask)))
            side = self._numbered(side, _places(side["user_id"], user_ids))
            sides.append(side.filter(pa.array(np.isin(_pairs(side, user_ids), _pairs(whole, user_ids)))))
        is_held = np.isin(_pairs(whole, user_ids), _pairs(sides[1], user_ids))
        late = np.where(draw < self._share * VALIDATION_SHARE, VALIDATION, TEST)[_places(sides[1]["user_id"], user_ids)]
        cut = pa.concat_tables([_with_splits(sides[0], np.full(len(sides[0]), TRAIN)), _with_splits(sides[1], late)])
        cut = cut.sort_by([("user_id", "ascending"), ("item_num", "ascending"), ("split", "ascending")])
        ratings = whole.append_column("is_held_out", pa.array(is_held)).select([*RATINGS.names, "item_num", "moment"])
        return _with_splits(ratings, np.full(len(ratings), TRAIN)), self._users(rows, user_ids, user_of, lengths, n_held), cut

    def _with_held_out(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        user_ids, user_of, lengths, of_users = self._users_of(rows)
        starts = np.cumsum(lengths) - lengths
        draw, share = of_users / 2.0**64, self._share
        is_sampled = (lengths >= MIN_HELD_OUT_HISTORY) & (draw < share)
        n_held = np.where(is_sampled, np.floor(lengths * self._settings.holdout_fraction), 0).astype(np.int64)
        times = rows["rated_at"].fill_null(0).to_numpy()
        drawn = draws.of_pairs(of_users[user_of], draws.of_ids(rows["item_id"], self._settings.seed))
        order = np.lexsort((drawn, times, user_of))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
        is_held = place >= np.repeat(lengths - n_held, lengths)
        split = np.where(is_held, np.where(np.repeat(draw < share * VALIDATION_SHARE, lengths), VALIDATION, TEST), TRAIN).astype(np.int8)
        ratings = self._numbered(rows, user_of).append_column("is_held_out", pa.array(is_held))
        ratings = _with_splits(ratings.select([*RATINGS.names, "item_num", "moment"]), split)
        return ratings, self._users(rows, user_ids, user_of, lengths, n_held)

    def _users_of(self, rows: pa.Table) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the users of sorted rows, the place of each row's user, how many rows each has, and their draws."""
        starts = np.flatnonzero(_starts(rows["user_id"])) if len(rows) else np.zeros(0, np.int64)
        lengths = np.diff(np.append(starts, len(rows)))
        user_ids = rows["user_id"].take(pa.array(starts))
        return user_ids, np.repeat(np.arange(len(starts)), lengths), lengths, draws.of_ids(user_ids, self._settings.seed)

    def _numbered(self, rows: pa.Table, user_of: np.ndarray) -> pa.Table:
        item_ids = parquet.read(self._release.work / "items.parquet", ["item_id"])["item_id"].combine_chunks()
        numbers = pc.index_in(rows["item_id"], value_set=item_ids).cast(pa.int32())
        moments = moments_of(rows["rated_at"].fill_null(0).to_numpy(), user_of)
        return rows.append_column("item_num", numbers).append_column("moment", pa.array(moments))

    def _users(self, rows, user_ids, user_of, lengths, n_held) -> pa.Table:
        starts = np.cumsum(lengths) - lengths
        sums = np.bincount(user_of, rows["rating"].fill_null(0.0).to_numpy(), len(lengths))
        times = rows["rated_at"].to_numpy(zero_copy_only=False).astype(float) if len(rows) else np.zeros(0)
        first, last = (np.fmin.reduceat(times, starts), np.fmax.reduceat(times, starts)) if len(rows) else (np.zeros(0), np.zeros(0))
        return pa.table(
            {
                "user_id": user_ids,
                "n_ratings": pa.array(lengths, pa.int64()),
                "mean_rating": pa.array(sums / np.maximum(lengths, 1)) if self._is_rated else pa.nulls(len(lengths), pa.float64()),
                "first_rated_at": _seconds(first),
                "last_rated_at": _seconds(last),
                "is_held_out": pa.array(n_held > 0),
            }
        )


def _places(values: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    return pc.index_in(values, value_set=among.combine_chunks()).to_numpy().astype(np.int64)


def _pairs(rows: pa.Table, user_ids: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each row's pair of user and item."""
    return _places(rows["user_id"], user_ids) << 32 | rows["item_num"].to_numpy()


def _with_splits(rows: pa.Table, splits: np.ndarray) -> pa.Table:
    return rows.append_column("split", pa.array(splits.astype(np.int8)))


def _starts(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) True if a value differs from the one before it; the first does."""
    flat = column.combine_chunks()
    changed = pc.not_equal(flat.slice(1), flat.slice(0, len(flat) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[True], changed])


def _seconds(values: np.ndarray) -> pa.Array:
    return pa.array(np.nan_to_num(values).astype(np.int64), mask=np.isnan(values))


def _item_counts(ratings: pa.Table, cut: pa.Table, n_items: int) -> pa.Table:
    """Per item of the part: interactions and rating sum, of all rows and of those of the cut to train on."""
    numbers, values = ratings["item_num"].to_numpy(), ratings["rating"].fill_null(0.0).to_numpy()
    train = cut.filter(pc.equal(cut["split"], TRAIN))
    train_numbers, train_values = train["item_num"].to_numpy(), train["rating"].fill_null(0.0).to_numpy()
    n_all = np.bincount(numbers, minlength=n_items)
    item_nums = np.flatnonzero(n_all)
    columns = {
        "item_num": item_nums,
        "n_ratings": n_all,
        "rating_sum": np.bincount(numbers, values, n_items),
        "n_train": np.bincount(train_numbers, minlength=n_items),
        "train_sum": np.bincount(train_numbers, train_values, n_items),
    }
    return pa.table({name: column if name == "item_num" else column[item_nums] for name, column in columns.items()})
