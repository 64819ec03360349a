"""Histories of a block of users, as arrays: the only thing that a user is."""

from __future__ import annotations

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
