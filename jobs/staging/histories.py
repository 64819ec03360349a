"""The rating parts of a release in staging, read as whole histories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories, strength
from jobs.kernels.spans import owners
from jobs.staging.record import Facts
from warehouse import parquet
from warehouse.layout import Release

TRAIN, VALIDATION, TEST = 0, 1, 2
CUT = "cut"  # the folder of the parts' cut rows, where items may come again
_COLUMNS = ["user_id", "item_num", "rating", "weight", "moment", "split"]


class Part(NamedTuple):
    """Users of one part in order of id, their histories, the same cut into what is held out and what is left, and the split that each row of
    the cut is in. Where items may come again a pair can be in two rows of the cut, with its earlier and its later events."""

    user_ids: pa.Array
    histories: Histories
    cut: Histories
    splits: np.ndarray

    def held_out_users(self, split: int) -> np.ndarray:
        """Positions (u,) of the users with rows in a split."""
        return np.flatnonzero(np.bincount(owners(self.cut.indptr), self.splits == split, len(self.cut)))

    def held_out(self, split: int) -> tuple[Histories, Histories]:
        """These users: what is left of their histories to fold in, and what was kept out."""
        users, rows = self.held_out_users(split), self.cut
        return rows.select(self.splits == TRAIN).take(users), rows.select(self.splits == split).take(users)


def read_part(release: Release, number: int, facts: Facts) -> Part:
    rows = parquet.read(parquet.part(release.work / "ratings", number), _COLUMNS)
    user_ids = pc.run_end_encode(rows["user_id"].combine_chunks(), run_end_type=pa.int64()).values
    cut = parquet.part(release.work / CUT, number)
    if not cut.exists():
        histories = _histories(rows, user_ids, facts)
        return Part(user_ids, histories, histories, rows["split"].to_numpy())
    rows_of_cut = parquet.read(cut, [*_COLUMNS, "n_events"])
    rows = rows.append_column("n_events", parquet.read(parquet.part(release.work / "ratings", number), ["n_events"])["n_events"])
    return Part(user_ids, _histories(rows, user_ids, facts), _histories(rows_of_cut, user_ids, facts), rows_of_cut["split"].to_numpy())


def _histories(rows: pa.Table, user_ids: pa.Array, facts: Facts) -> Histories:
    user_of = pc.index_in(rows["user_id"], value_set=user_ids).to_numpy()
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user_of, minlength=len(user_ids)))]).astype(np.int64)
    ratings = rows["rating"].fill_null(np.nan).to_numpy()
    strengths = strength(ratings, rows["weight"].to_numpy(), low=facts.low, high=facts.high)
    counts = rows["n_events"].to_numpy() if "n_events" in rows.column_names else None
    return Histories(indptr, rows["item_num"].to_numpy(), strengths, ratings, rows["moment"].to_numpy(), counts)


def genre_matrix(items: pa.Table, genres: list[str]) -> csr_matrix:
    """(n_items, n_genres) float32, 1 where the item has the genre; items["genres"] joined by |."""
    lists = pc.split_pattern(items["genres"].combine_chunks(), "|")
    rows = pc.list_parent_indices(lists).to_numpy()
    columns = pc.index_in(pc.list_flatten(lists), value_set=pa.array(genres, pa.string())).fill_null(-1).to_numpy()
    is_known = columns >= 0
    matrix = csr_matrix((np.ones(is_known.sum(), np.float32), (rows[is_known], columns[is_known])), shape=(len(items), len(genres)))
    matrix.data[:] = 1.0
    return matrix
