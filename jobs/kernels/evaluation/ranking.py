"""Lists from the scores of every item: the k best of each user, over all items or over given candidates.

Scores are (u, n_items); -inf is an item that may not be placed. Over all items ties go to the item that comes first in
`place`, its position in an order of all items, such as by popularity. Over candidates ties go against the relevant item: a
model that scores all candidates alike finds nothing, instead of everything.

A miniature: scores (0.5, 0.9, 0.5), nothing left out, place (2, 1, 0). The two best are items 1 and 2. Among the candidates
(0, 1, 2) with item 2 relevant they are 1 and 0.
"""

from __future__ import annotations

import numpy as np


def best(scores: np.ndarray, indptr: np.ndarray, items: np.ndarray, place: np.ndarray, k: int) -> np.ndarray:
    """The k best of all items but the user's own, (u, k) int64, -1 where there are fewer. items[indptr[u]:indptr[u + 1]] are
    those of user u; scores is written over."""
    n = scores.shape[1]
    lists = np.full((len(scores), k), -1, np.int64)
    for u, row in enumerate(scores):
        row[items[indptr[u] : indptr[u + 1]]] = -np.inf
        least = np.partition(row, n - k)[n - k] if k < n else -np.inf
        found = np.flatnonzero((row >= least) & (row > -np.inf))
        found = found[np.lexsort((place[found], -row[found]))][:k]
        lists[u, : len(found)] = found
    return lists


def best_among(scores: np.ndarray, candidates: np.ndarray, indptr: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """The k best of each user's candidates (u, c), -1 where a row is shorter; relevant[indptr[u]:indptr[u + 1]] are what
    should be found."""
    rows = np.arange(len(scores))[:, None]
    values = np.where(candidates >= 0, scores[rows, candidates], -np.inf).astype(np.float64)
    users = np.repeat(np.arange(len(scores), dtype=np.int64), np.diff(indptr))
    n = scores.shape[1]
    is_relevant = np.isin(rows * n + candidates, users * n + relevant) & (candidates >= 0)
    order = np.lexsort((candidates, is_relevant, -values), axis=1)[:, :k]
    found = np.take_along_axis(candidates, order, axis=1).astype(np.int64)
    found[np.take_along_axis(values, order, axis=1) == -np.inf] = -1
    lists = np.full((len(scores), k), -1, np.int64)
    lists[:, : found.shape[1]] = found
    return lists
