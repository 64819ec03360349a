"""Accuracy of ratings and of lists, a value a user: how much of what was kept out the lists found, and how high.

With h_r = 1 where the item at position r (from 1) is relevant, that is, was kept out, m the number of the user's relevant
items and P_r = (h_1 + ... + h_r) / r:

    precision@k           sum_r h_r / k                             Herlocker et al. 2004; an empty place is a miss
    recall_by_relevant@k  sum_r h_r / m                             Herlocker et al. 2004
    recall_by_reachable@k sum_r h_r / min(m, k)                     Liang et al. 2018; 1 can be reached where m > k
    nDCG@k                sum_r h_r / log2(r + 1), divided by the same for min(m, k) hits on top
                                                                    Jarvelin and Kekalainen 2002, binary gains
    average_precision@k   sum_r h_r P_r / min(m, k)                 MAP@k is its mean over users
    reciprocal_rank@k     1 / r of the first hit, 0 without one     MRR@k is its mean over users; Voorhees 1999
    hit rate@k            1 where any h_r = 1

The base of the logarithm cancels in nDCG, so figures published with the natural one compare. A user with m = 0 has no value
(NaN): nothing could be found, so they are not counted in a mean. A user with m > 0 and an empty list has 0.

A miniature: the list (4, 7, 9) of a user whose relevant items are 7 and 1 has the hits (0, 1, 0). Precision@3 is 1/3, both
recalls 1/2, DCG 1 / log2(3) = 0.631 of at most 1.631, average precision (1/2) / 2 and reciprocal rank 1/2.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels.spans import owners, places


def fixed_width(indptr: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return the first k places of each list, (u, k), -1 if a list is shorter.

    The lists stand one after another: indptr (u + 1,), items (m,).
    """
    lengths = np.diff(indptr)
    user_of, place = owners(indptr), places(indptr)
    lists = np.full((len(lengths), k), -1, np.int64)
    is_inside = place < k
    lists[user_of[is_inside], place[is_inside]] = items[is_inside]
    return lists


def hit_table(lists: np.ndarray, held_indptr: np.ndarray, held_items: np.ndarray, n_items: int) -> np.ndarray:
    """h, (u, k) bool: whether the item at each place of lists (u, k) was kept out of that user's history; -1 never was."""
    users = np.arange(len(lists), dtype=np.int64)
    held = np.repeat(users, np.diff(held_indptr)) * n_items + held_items
    return np.isin(users[:, None] * n_items + lists, held) & (lists >= 0)


def hits(indptr: np.ndarray, items: np.ndarray, held_indptr: np.ndarray, held_items: np.ndarray, k: int, n_items: int) -> np.ndarray:
    """h, (u, k) bool, of lists one after another, as in Lists."""
    return hit_table(fixed_width(indptr, items, k), held_indptr, held_items, n_items)


def precision(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Precision@k, (u,), for hit (u, k) and n_held (u,): m of each user."""
    return np.where(n_held > 0, hit.sum(axis=1) / hit.shape[1], np.nan)


def recall_by_relevant(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Recall@k, (u,), as a share of all relevant items: at most k / m."""
    return hit.sum(axis=1) / _or_nan(n_held)


def recall_by_reachable(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Recall@k, (u,), as a share of the relevant items that k places can hold."""
    return hit.sum(axis=1) / _or_nan(np.minimum(n_held, hit.shape[1]))


recall = recall_by_relevant  # what recall means where nothing else is said


def ndcg(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """nDCG@k, (u,)."""
    gains = 1.0 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(gains)])[np.minimum(n_held, hit.shape[1])]
    return hit @ gains / ideal


def chance_ndcg(n_open: np.ndarray, n_held: np.ndarray, k: int) -> np.ndarray:
    """Return the nDCG@k that k items drawn at random are expected to have, (u,).

    Each place is a hit with probability n_held / n_open: n_open (u,) items may be in a user's list, n_held (u,) of them were held out.
    """
    return n_held / _or_nan(n_open) * ndcg(np.ones((len(n_held), k), bool), n_held)


def average_precision(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Average precision@k, (u,). Where a publication divides by m and not by min(m, k), its figure is lower."""
    precisions = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return (hit * precisions).sum(axis=1) / _or_nan(np.minimum(n_held, hit.shape[1]))


def reciprocal_rank(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Reciprocal rank@k, (u,)."""
    first = np.where(hit.any(axis=1), 1.0 / (hit.argmax(axis=1) + 1), 0.0)
    return np.where(n_held > 0, first, np.nan)


def hit_rate(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """Hit rate@k, (u,)."""
    return np.where(n_held > 0, hit.any(axis=1), np.nan)


def counted_mean(values: np.ndarray) -> float:
    """Average the values of the users who have one; NaN if no user has."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def rmse(predicted: np.ndarray, ratings: np.ndarray) -> float:
    """Root of the mean squared error over rows (m,). Rows without a rating (NaN) are not counted; NaN if none is left."""
    return float(np.sqrt(counted_mean((predicted - ratings) ** 2)))


def mae(predicted: np.ndarray, ratings: np.ndarray) -> float:
    """Mean absolute error over rows (m,), counted as in rmse."""
    return counted_mean(np.abs(predicted - ratings))


def mean_per_user(values: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (u,) of values (m,) over each user's rows indptr[k]:indptr[k + 1], and how many rows were counted (u,).

    NaN rows are not counted, and a user without rows has NaN. Of squared errors these are the values and weights whose
    weighted mean over users is the squared RMSE.
    """
    lengths = np.diff(indptr)
    user_of = owners(indptr)
    is_counted = ~np.isnan(values)
    n = np.bincount(user_of[is_counted], minlength=len(lengths))
    return np.bincount(user_of[is_counted], values[is_counted], len(lengths)) / _or_nan(n), n


def _or_nan(n: np.ndarray) -> np.ndarray:
    """Return counts (u,) to divide by, with NaN for 0, so that what is undefined is NaN."""
    return np.where(n > 0, n, np.nan)
