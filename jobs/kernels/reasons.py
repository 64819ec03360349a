"""Reasons of lists.

They are the strongest contributions of what the user liked, what the item scores with every user, the sum of the rest, the genre they
share, and users of similar taste who have the item. Nothing is recommended because of what somebody disliked: a row of the history that is rated below the user's own mean is in the
sum, as every row is, but is not named as a reason, and no row is that lowers the score.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories, History
from jobs.kernels.rankers import Part
from jobs.kernels.spans import owners, places, runs
from jobs.kernels.user_neighbours import ReferenceUsers, who_have

RANKED = 0
HISTORY, GENRE, BIAS, RESIDUAL, SIMILAR_USERS = 0, 1, 2, 3, 4
KINDS = ("history", "genre", "bias", "residual", "similar_users")
TYPES = (np.int64, np.int32, np.int8, np.int64, float, float)
LAST = np.iinfo(np.int32).max  # where similar users stand before positions are counted, the genre one before


class Ranking(NamedTuple):
    """Rows of one user's list.

    items (k,), scores (k,), tiers (k,), RANKED or one of the fallbacks, and model_ranks (k,), the rank before the list was re-ranked, 0 if
    it was not.
    """

    items: np.ndarray
    scores: np.ndarray
    tiers: np.ndarray
    model_ranks: np.ndarray

    def head(self, n: int) -> Ranking:
        return Ranking(*(column[:n] for column in self))


def explain(
    ranker: Part, user: Any, history: History, ranking: Ranking, reasons_n: int, *, is_liked: np.ndarray,
    over_mean: np.ndarray | None = None, is_whole: bool = False,
) -> list[tuple[Any, ...]]:  # fmt: skip
    """Reasons of the rows of one user's ranking, without genres, as parts to be `joined`: rows counted from the list's first.

    A ranked item gets the strongest contributions of those history rows that the user liked, is_liked (n,), and that raise its
    score, the best first (of the item itself with how often the user had it); then its bias, where it has one, and the residual, the sum of all others. With is_whole the others follow
    one by one, if reasons_n holds the whole history. A popular item has its popularity for a bias. over_mean (n_items,) tells how
    much better than the mean everybody rates an item.
    """
    ranked, popular = np.flatnonzero(ranking.tiers == RANKED), np.flatnonzero(ranking.tiers != RANKED)
    parts = []
    if len(ranked):
        targets = ranking.items[ranked]
        shares = ranker.contributions(user, targets).T
        is_named = is_liked & (shares > 0)
        # named rows come first; the others only where they are asked for
        after = shares - shares.max(initial=0.0) - 1.0 if is_whole and reasons_n >= history.n else -np.inf
        order = np.where(is_named, shares, after)
        is_left = np.ones(shares.shape, bool)
        for position in range(1, min(reasons_n, history.n) + 1):
            top = order.argmax(axis=1)  # the first of equals
            rows = np.flatnonzero(order[np.arange(len(ranked)), top] > -np.inf)
            at = rows, top[rows]
            evidence, values = history.items[at[1]], history.ratings[at[1]]
            if history.counts is not None:
                values = np.where(evidence == targets[rows], history.counts[at[1]], values)
            parts.append((ranked[rows], position, HISTORY, evidence, shares[at], values))
            order[at], is_left[at] = -np.inf, False
        biases, last = ranker.biases(targets), history.n + 1
        rows = np.flatnonzero(biases)
        better = np.nan if over_mean is None else over_mean[targets[rows]]
        parts.append((ranked[rows], last, BIAS, -1, biases[rows], better))
        n_left = is_left.sum(axis=1)
        rows = np.flatnonzero(n_left)
        parts.append((ranked[rows], last + 1, RESIDUAL, -1, np.where(is_left, shares, 0.0).sum(axis=1)[rows], n_left[rows]))
    if len(popular):
        parts.append((popular, 1, BIAS, -1, ranking.scores[popular], np.nan))
    return parts


def genre_reasons(
    of_items: csr_matrix, histories: Histories, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the genre that each list row shares most with its user's history, if any.

    Parameters
    ----------
    of_items : (n_items, g), 1 for each genre of an item
    users, items : (k,) of the rows

    Returns
    -------
    the rows that share one, its genre, and the cosine of the item's genres with the history's, (r,) each
    """
    n_genres = of_items.shape[1]
    lengths, owned = genres_of(of_items, histories.items)
    owner = np.repeat(owners(histories.indptr), lengths)
    profiles = np.bincount(owner * n_genres + owned, minlength=len(histories) * n_genres)
    profiles = profiles.reshape(len(histories), n_genres)
    norms = np.sqrt(np.einsum("ug,ug->u", profiles, profiles, dtype=float))
    lengths, genres = genres_of(of_items, items)
    row_of = np.repeat(np.arange(len(items)), lengths)
    weighted = profiles[users[row_of], genres]
    order = np.lexsort((genres, -weighted, row_of))
    first = order[np.searchsorted(row_of, np.flatnonzero(lengths))]  # row_of ascends, and so does row_of[order]
    first = first[weighted[first] > 0]
    rows = row_of[first]
    match = np.bincount(row_of, weighted, len(items))[rows] / (norms[users[rows]] * np.sqrt(lengths[rows]))
    return rows, genres[first], match


def similar_user_reasons(
    others: ReferenceUsers, histories: Histories, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the list rows that some of the user's nearest neighbours have.

    Parameters
    ----------
    users : (k,) of the rows, ascending
    items : (k,) of the rows

    Returns
    -------
    the rows, how many of the neighbours have the item, and the mean of their ratings, NaN without one, (r,) each
    """
    n, means = who_have(others, histories.weighted(others.n_items, others.half_life), others.n_neighbours, users, items)
    rows = np.flatnonzero(n)
    return rows, n[rows], means[rows]


def genres_of(of_items: csr_matrix, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many genres each of some items has, and the genres, item after item."""
    lengths = np.diff(of_items.indptr)[items]
    starts = np.cumsum(lengths) - lengths
    return lengths, of_items.indices[np.arange(lengths.sum()) + np.repeat(of_items.indptr[items] - starts, lengths)]


def concatenated(parts: list[tuple[Any, ...]]) -> tuple[np.ndarray, ...]:
    """Parts, each of some rows with what all have in common, as the last six arrays of Lists: by row, positions from 1."""
    columns = [
        np.concatenate([np.broadcast_to(part[c], len(part[0])) for part in parts]).astype(kind, copy=False) if parts else np.zeros(0, kind)
        for c, kind in enumerate(TYPES)
    ]
    order = np.lexsort((columns[1], columns[0]))
    rows, _, *rest = (column[order] for column in columns)
    return (rows, (places(runs(rows)) + 1).astype(np.int32), *rest)
