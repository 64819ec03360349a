"""A source read whole into memory, in the order of its rows: what protocols cut, and models are fitted to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.ingest import draws
from jobs.ingest.first_pass import is_canonical
from jobs.ingest.items import numbered_items
from jobs.kernels.evaluation.protocols import Rows
from jobs.kernels.histories import Histories, moments_of, strength
from jobs.machine.progress import Progress
from jobs.models.base.contract import TrainingData, Validation
from jobs.sources import Source
from jobs.spark.task_pool import Runner
from jobs.staging.histories import genre_matrix
from jobs.staging.interactions import Interactions
from schemas.errors import SourceError
from schemas.settings import Settings
from schemas.tables import IdTypes
from warehouse import parquet


@dataclass(frozen=True)
class Dataset:
    """rows: each pair of user and item once, or where are_events each of their times, users and items numbered in the order of their ids; strengths (m,); items: the
    items table without its counts, in order of item_num; the source's scale, and how many rows it had and refused; is_tested (m,)
    bool: what a given cut tests, None if there is none."""

    rows: Rows
    strengths: np.ndarray
    items: pa.Table
    rating_scale: tuple[float, float] | None
    has_times: bool
    n_read: int
    n_refused: int
    is_tested: np.ndarray | None = None
    are_events: bool = False

    @property
    def n_users(self) -> int:
        return int(self.rows.users.max(initial=-1)) + 1

    @property
    def n_items(self) -> int:
        return len(self.items)

    def histories(self, keep: np.ndarray) -> Histories:
        """All users with the rows where keep (m,) is true; moments are counted over those rows alone. Of a pair with several events the
        last stands, with how many they are, and for implicit feedback with the sum of their weights."""
        order = np.flatnonzero(keep)
        order = order[np.lexsort((self.rows.times[order], self.rows.items[order], self.rows.users[order]))]
        counts, strengths = None, self.strengths[order]
        if self.are_events and len(order):
            pairs = self.rows.users[order] * self.n_items + self.rows.items[order]
            first = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1]))
            last = np.append(first[1:], len(order)) - 1
            counts = last - first + 1
            strengths = strengths[last] if self.rating_scale else np.log2(1 + np.add.reduceat(np.exp2(strengths) - 1, first))
            order = order[last]
        users, items, ratings, times, _ = (column[order] for column in self.rows)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=self.n_users))]).astype(np.int64)
        return Histories(indptr, items.astype(np.int32), strengths, ratings, moments_of(times, users), counts)

    def save(self, folder: Path) -> None:
        """Write files that other processes map."""
        folder.mkdir(parents=True)
        for name, column in (*self.rows._asdict().items(), ("strengths", self.strengths)):
            np.save(folder / f"{name}.npy", column)
        parquet.write(folder / "items.parquet", [self.items], self.items.schema)
        names = ("rating_scale", "has_times", "n_read", "n_refused", "are_events")
        facts = {name: getattr(self, name) for name in names}
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        *columns, strengths = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*Rows._fields, "strengths"))
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        facts["rating_scale"] = tuple(facts["rating_scale"]) if facts["rating_scale"] else None
        return cls(Rows(*columns), strengths, parquet.read(folder / "items.parquet").combine_chunks(), **facts)

    def training(
        self,
        train: np.ndarray,
        settings: Settings,
        *,
        run: Runner,
        folder: Path,
        validation: Callable[[], Validation] | None = None,
        tune: bool = False,
    ) -> TrainingData:
        """Return the training data of the rows of train (m,), and nothing of the others."""
        rows = self.histories(train)
        kinds = {"strengths": np.float32, "ratings": np.float32, "moments": np.int32}
        arrays = {name: column.astype(kinds.get(name, column.dtype)) for name, column in rows._asdict().items() if column is not None}
        names = sorted(set(pc.list_flatten(pc.split_pattern(self.items["genres"].combine_chunks(), "|")).to_pylist()) - {""})
        return TrainingData(
            interactions=Interactions(arrays, self.n_items),
            items=self.items,
            n_ratings=np.bincount(rows.items, minlength=self.n_items),
            rating_sum=np.bincount(rows.items, np.nan_to_num(rows.ratings), self.n_items),
            genres=genre_matrix(self.items, names),
            rating_scale=self.rating_scale,
            settings=settings,
            run=run,
            scratch=folder / "scratch",
            sides=folder / "model",
            validation=validation,
            tune=tune,
        )


def read(source: Source, settings: Settings, *, tested: Source | None = None, are_events: bool = False) -> Dataset:
    """Read a source through the same checks as ingest. The latest row of a pair counts, and stands where that row stands;
    the weights of implicit feedback add up. With are_events that holds of each time of a pair. `tested` has rows that a given cut tests; a pair that the source has too is trained on.
    Raises SourceError if too little is usable."""
    tables, n_read, n_of = [], 0, []
    with Progress(f"read {source.name}", unit="rows") as progress:
        for file in (source, *([tested] if tested is not None else [])):
            for batch in file.interactions():
                tables.append(batch.accepted)
                n_read += batch.n_read
                progress.add(batch.n_read)
            n_of.append(sum(map(len, tables)))
    n_accepted = n_of[-1]
    if n_accepted < settings.min_interactions:
        raise SourceError(
            f"{n_accepted:,} usable interactions of {n_read:,} rows read; expected at least {settings.min_interactions:,} "
            "(setting min_interactions)"
        )
    whole = pa.concat_tables([table for table in tables if len(table)]).combine_chunks()
    catalogue = source.catalogue()
    user_kind = source.user_id_type or ("int64" if is_canonical(whole["user_id"]) else "string")
    are_whole = is_canonical(whole["item_id"]) and is_canonical(catalogue.items["item_id"])
    ids = IdTypes(user_kind, source.item_id_type or ("int64" if are_whole else "string"))
    items = numbered_items(catalogue, pc.unique(whole["item_id"].combine_chunks()), ids)
    users = whole["user_id"].cast(ids.arrow("user_id")).combine_chunks()
    user_ids = pc.unique(users)
    user_ids = user_ids.take(pc.sort_indices(user_ids))
    user_of = pc.index_in(users, value_set=user_ids).to_numpy().astype(np.int64)
    item_of = (
        pc.index_in(whole["item_id"].cast(ids.arrow("item_id")).combine_chunks(), value_set=items["item_id"].combine_chunks())
        .to_numpy()
        .astype(np.int64)
    )
    ratings = whole["rating"].fill_null(np.nan).to_numpy()
    times = whole["rated_at"].fill_null(0).to_numpy()
    pairs, is_tested = user_of * len(items) + item_of, None
    if tested is not None:
        is_tested = np.arange(len(pairs)) >= n_of[0]
        is_tested &= ~np.isin(pairs, pairs[~is_tested])
    moments, at = np.unique(times, return_inverse=True)
    groups = pairs * len(moments) + at if are_events else pairs
    kept, weights = _latest(groups, times, ratings, whole["weight"].to_numpy(), is_implicit=source.rating_scale is None)
    drawn = draws.of_pairs(
        draws.of_ids(user_ids, settings.seed)[user_of[kept]], draws.of_ids(items["item_id"], settings.seed)[item_of[kept]]
    )
    low, high = source.rating_scale or (None, None)
    return Dataset(
        Rows(user_of[kept], item_of[kept], ratings[kept], times[kept], drawn),
        strength(ratings[kept], weights, low=low, high=high),
        items,
        source.rating_scale,
        whole["rated_at"].null_count < len(whole),
        n_read,
        n_read - n_accepted,
        None if is_tested is None else is_tested[kept],
        are_events,
    )


def _latest(
    pairs: np.ndarray, times: np.ndarray, ratings: np.ndarray, weights: np.ndarray, *, is_implicit: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The last row in time of each pair, of one moment the highest rating, (p,) ascending, and its weight (p,): its own, or the sum of the pair's."""
    order = np.lexsort((weights, ratings, times, pairs))
    is_last = np.append(pairs[order][1:] != pairs[order][:-1], True)
    last = order[is_last]
    of_pair = weights[last]
    if is_implicit:
        of_pair = np.add.reduceat(weights[order], np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1]))
    back = np.argsort(last)
    return last[back], of_pair[back]
