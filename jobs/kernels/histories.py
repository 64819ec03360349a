"""Histories of a block of users, as arrays: the only thing that a user is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix


class Histories(NamedTuple):
    """u users one after another: user k has the rows indptr[k]:indptr[k + 1].

    indptr (u + 1,) int64, items (m,) int32 item_num, strengths (m,) float64 > 0 for the implicit models, ratings (m,)
    float64, NaN where there is none. Two users, the first with items 3 and 5, the second with item 3:
    indptr [0, 2, 3], items [3, 5, 3].
    """

    indptr: np.ndarray
    items: np.ndarray
    strengths: np.ndarray
    ratings: np.ndarray

    def __len__(self) -> int:  # number of users, not of fields
        return len(self.indptr) - 1

    def matrix(self, n_items: int) -> csr_matrix:
        """(u, n_items), 1 where the user has the item."""
        ones = np.ones(len(self.items), np.float32)
        return csr_matrix((ones, self.items, self.indptr), shape=(len(self), n_items))


def strength(ratings: np.ndarray, weights: np.ndarray, *, low: float | None, high: float | None) -> np.ndarray:
    """Strength of interactions, (m,) float64 in (0, 1] for ratings, >= 0 and 1 for weight 1 for implicit feedback.

    A rating counts by its place on the scale, the lowest still a little: that somebody chose an item says something even
    where it disappointed. A weight counts by its logarithm: a hundred bought at once is not a hundred choices.
    """
    if low is None or high is None:
        return np.log2(1.0 + weights)
    return 0.25 + 0.75 * (ratings - low) / max(high - low, 1e-9)


def one_history(
    item_ids: np.ndarray, ids: Sequence, ratings: Sequence[float | None], weights: Sequence[float], *,
    low: float | None, high: float | None,
) -> Histories:
    """One user's rows, as a database gives them, as Histories of one user.

    item_ids (n_items,) in ascending order; ids, ratings (None where there is none) and weights one a row, in any order. A
    row whose item is not among item_ids is left out: the item side knows nothing of it.
    """
    wanted = np.asarray(ids, item_ids.dtype if item_ids.dtype.kind != "U" else None)
    if len(wanted) == 0 or len(item_ids) == 0:
        return Histories(np.array([0, 0]), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))
    numbers = np.searchsorted(item_ids, wanted)
    rows = np.flatnonzero(item_ids[np.minimum(numbers, len(item_ids) - 1)] == wanted)
    rows = rows[np.argsort(numbers[rows], kind="stable")]
    given = np.array([np.nan if rating is None else rating for rating in ratings], float)[rows]
    scale = {"low": low, "high": high}
    return Histories(np.array([0, len(rows)]), numbers[rows].astype(np.int32), strength(given, np.array(weights, float)[rows], **scale), given)
