"""The k best of a row of scores, and which way ties fall.

=============  ======================================================================  ==========================================
function       among                                                                   of scores that tie
=============  ======================================================================  ==========================================
near_best      all items of one user, for a list that is served                        all are given; the list takes the lower id
best           all items but the user's own, in lists that are measured                the first in an order of all items
best_among     given candidates, in lists that are measured                            not the one that should be found
top            all items of many users, to choose hyper-parameters by                  any
top_n          all items, by factors in float32 (`topn`)                               any, so callers ask for more than they need
largest        the weights of an item, of which the largest are kept (`weights`)       the lower item
=============  ======================================================================  ==========================================

A score of -inf is an item that may not be placed. Ties among candidates go against the relevant item, because a model that scores
all candidates alike has found nothing.

A miniature: scores (0.5, 0.9, 0.5), nothing left out, and an order of items in which they have the places (2, 1, 0). The two best
are items 1 and 2. Among the candidates (0, 1, 2), with item 2 relevant, they are 1 and 0.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels.spans import owners

GROUPS_A_PLACE = 24  # enough that two of the n best rarely share a group, few enough to be sorted for next to nothing


def near_best(scores: np.ndarray, n: int, *, noise: float = 0.0) -> np.ndarray:
    """Items (c,) int32, ascending, that score no less than the n-th best of scores (n_items,) less noise; never one at -inf.

    The n-th best of the maxima of n or more groups is a score that n items have at least, and is most often the n-th best
    itself, so only what reaches it is sorted.
    """
    floor = np.finfo(scores.dtype).min
    n_groups = n * GROUPS_A_PLACE
    if 0 < n_groups < len(scores):
        even = len(scores) // n_groups * n_groups
        maxima = scores[:even].reshape(-1, n_groups).max(axis=0)
        floor = max(floor, np.partition(maxima, n_groups - n)[n_groups - n] - noise)
    items = np.flatnonzero(scores >= floor)
    if len(items) > n > 0:
        values = scores[items]
        items = items[values >= np.partition(values, len(items) - n)[len(items) - n] - noise]
    return items.astype(np.int32)


def best(scores: np.ndarray, indptr: np.ndarray, items: np.ndarray, place: np.ndarray, k: int) -> np.ndarray:
    """Return the k best of scores but the user's own, (u, k) int64, -1 if there are fewer.

    Parameters
    ----------
    scores : (u, n_items), written over
    indptr, items : items[indptr[u]:indptr[u + 1]] are those of user u
    place : (n_items,) the places of all items in an order, by which ties go
    """
    lists = np.full((len(scores), k), -1, np.int64)
    for u, row in enumerate(scores):
        row[items[indptr[u] : indptr[u + 1]]] = -np.inf
        nearest = near_best(row, k)
        nearest = nearest[np.lexsort((place[nearest], -row[nearest]))][:k]
        lists[u, : len(nearest)] = nearest
    return lists


def best_among(
    scores: np.ndarray, candidates: np.ndarray, indptr: np.ndarray, relevant: np.ndarray, k: int, *, tiers: np.ndarray | None = None
) -> np.ndarray:
    """Return the k best of each user's candidates, -1 if a row is shorter.

    Parameters
    ----------
    scores : (u, c) of the candidates, -inf where there is none
    candidates : (u, c) item_num, -1 where there is none
    indptr, relevant : relevant[indptr[u]:indptr[u + 1]] are what should be found
    tiers : (u, c), a lower one stands before a higher one whatever the scores; None if all are one
    """
    rows, values, tiers = np.arange(len(scores))[:, None], scores.astype(np.float64), np.zeros(scores.shape) if tiers is None else tiers
    n = int(max(candidates.max(initial=0), relevant.max(initial=0))) + 1
    is_relevant = np.isin(rows * n + candidates, owners(indptr) * n + relevant) & (candidates >= 0)
    order = np.lexsort((candidates, is_relevant, -values, tiers, values == -np.inf), axis=1)[:, :k]
    items = np.take_along_axis(candidates, order, axis=1).astype(np.int64)
    items[np.take_along_axis(values, order, axis=1) == -np.inf] = -1
    lists = np.full((len(scores), k), -1, np.int64)
    lists[:, : items.shape[1]] = items
    return lists


def of_candidates(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return the scores of candidates (u, c) item_num among those of all items (u, n_items); -inf where a candidate is -1."""
    return np.where(candidates >= 0, np.take_along_axis(scores, np.maximum(candidates, 0), axis=1), -np.inf)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k best of each row of scores (u, n_items), (u, <= k), -1 if nothing may be placed."""
    k = min(k, scores.shape[1])
    items = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else np.tile(np.arange(k), (len(scores), 1))
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.where(np.take_along_axis(values, order, axis=1) > -np.inf, np.take_along_axis(items, order, axis=1), -1)
