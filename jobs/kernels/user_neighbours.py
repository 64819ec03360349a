"""Users of similar taste: the cosine between a history and those of other users, and what the nearest of them have.

    x_ui = strength of user u's interaction with i, of the query also its recency,  sim_uv = x_u' x_v / (|x_u| |x_v|)
    score_ui = sum over the k nearest v of  sim_uv  x_vi / |x_v|                     (Herlocker et al. 1999, without means)

The others are a sample of users kept as they were trained on, so this is not an item side: a user is compared with users.
Divided by |x_v|, somebody who has everything votes no louder than others.

A miniature: others {0, 1} and {1, 2}, all strengths 1, k = 1. The query {0} is 0.71 like the first and not like the second, so
the first is its neighbour, and item 1 scores 0.71 * 0.71 = 0.5.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.neighbours import unit_rows
from jobs.kernels.spans import owners

USERS_AT_ONCE = 500  # cosines with all others are held for so many


class ReferenceUsers:
    """A sample of users to compare with.

    indptr (v + 1,), items (m,) item_num, strengths (m,), ratings (m,), NaN for none. A history's neighbours are the n_neighbours nearest of
    them; its own rows fade by half_life.
    """

    def __init__(
        self,
        indptr: np.ndarray,
        items: np.ndarray,
        strengths: np.ndarray,
        ratings: np.ndarray,
        n_items: int,
        *,
        n_neighbours: int = 0,
        half_life: float = np.inf,
    ) -> None:
        self.n_items, shape = n_items, (len(indptr) - 1, n_items)
        self.n_neighbours, self.half_life = n_neighbours, half_life
        self.unit = unit_rows(csr_matrix((np.asarray(strengths, np.float32), items, indptr), shape=shape), np.float32)
        self._ratings = csr_matrix((np.asarray(ratings, np.float32), items, indptr), shape=shape)

    def __len__(self) -> int:
        return self.unit.shape[0]

    @cached_property
    def by_item(self) -> csr_matrix:
        """Who has an item, (n_items, v)."""
        return self.unit.T.tocsr()

    @cached_property
    def ratings_by_item(self) -> csr_matrix:
        """Ratings (n_items, v); what is stored may be NaN."""
        return self._ratings.T.tocsr()

    @cached_property
    def untrained(self) -> np.ndarray:
        """item_nums that none of them has."""
        return np.flatnonzero(np.diff(self.by_item.indptr) == 0)

    def nearest(self, queries: csr_matrix, k: int) -> csr_matrix:
        """Cosines (u, v) of each query (u, n_items) with its k nearest, 0 elsewhere; ties go to the earlier user."""
        rows = unit_rows(queries, np.float32)
        cosines = np.asarray((rows @ self.by_item).todense(), np.float32)
        k = min(k, len(self))
        if k == 0:
            return csr_matrix(cosines.shape, dtype=np.float32)
        least = np.partition(cosines, len(self) - k, axis=1)[:, len(self) - k, None]
        is_near = (cosines > least) & (cosines > 0)
        ties = (cosines == least) & (cosines > 0)
        is_near |= ties & (np.cumsum(ties, axis=1) + is_near.sum(axis=1, keepdims=True) <= k)
        users, others = np.nonzero(is_near)
        return csr_matrix((cosines[users, others], (users, others)), shape=cosines.shape)

    def scores(self, nearest: csr_matrix) -> np.ndarray:
        """Scores of every item, (u, n_items) float32."""
        return np.asarray((nearest @ self.unit).todense(), np.float32)


def who_have(others: ReferenceUsers, queries: csr_matrix, k: int, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the nearest neighbours of queries that have items.

    Parameters
    ----------
    k : how many neighbours of a query are asked
    users : (p,) rows of queries, ascending
    items : (p,) item_num

    Returns
    -------
    (p,) how many of the query's neighbours have the item, and (p,) float64 the mean of their ratings of it, NaN without one
    """
    n, means = np.zeros(len(items), np.int64), np.full(len(items), np.nan)
    for start in range(0, queries.shape[0], USERS_AT_ONCE):
        is_near = others.nearest(queries[start : start + USERS_AT_ONCE], k).toarray() > 0
        pairs = slice(*np.searchsorted(users, (start, start + USERS_AT_ONCE)))
        rows = others.ratings_by_item[items[pairs]]
        pair_of = owners(rows.indptr)
        counted = is_near[users[pairs][pair_of] - start, rows.indices]
        is_rated = counted & ~np.isnan(rows.data)
        n[pairs] = np.bincount(pair_of, counted, rows.shape[0])
        n_rated = np.bincount(pair_of, is_rated, rows.shape[0])
        sums = np.bincount(pair_of, np.where(is_rated, rows.data, 0.0), rows.shape[0])
        means[pairs] = sums / np.where(n_rated > 0, n_rated, np.nan)
    return n, means
