"""Reasons of one user's list: the strongest contributions of the history, the sum of the rest, the genre they share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.histories import History
from jobs.kernels.rankers import Ranker

RANKED = 0
HISTORY, GENRE, BIAS, RESIDUAL = 0, 1, 2, 3
KINDS = ("history", "genre", "bias", "residual")
TYPES = (np.int64, np.int32, np.int8, np.int64, float, float)
NONE = tuple(np.zeros(0, kind) for kind in TYPES)


class Ranking(NamedTuple):
    """Rows of one user's list: items (k,) item_num, scores (k,) and tiers (k,), RANKED or one of the fallbacks."""

    items: np.ndarray
    scores: np.ndarray
    tiers: np.ndarray

    def head(self, n: int) -> Ranking:
        return Ranking(self.items[:n], self.scores[:n], self.tiers[:n])


def explain(
    ranker: Ranker,
    genres: csr_matrix,
    user: Any,
    history: History,
    ranking: Ranking,
    reasons_n: int,
    first_row: int = 0,
) -> tuple[np.ndarray, ...]:
    """Reasons of the rows of one user's ranking, as the last six arrays of Lists, rows counted from first_row.

    A ranked item gets the history's strongest contributions, the best first, then the residual (the sum of all others);
    a popular one has its popularity for a bias. Either gets the genre that it shares most with the history, last.
    """
    ranked, popular = np.flatnonzero(ranking.tiers == RANKED), np.flatnonzero(ranking.tiers != RANKED)
    parts = []
    m = min(reasons_n, history.n)
    if len(ranked):
        shares = ranker.contributions(user, ranking.items[ranked])
        top = np.argsort(-shares, axis=0, kind="stable")[:m]
        best = np.take_along_axis(shares, top, axis=0)
        left = shares.copy()
        np.put_along_axis(left, top, 0.0, axis=0)
        positions = np.broadcast_to(np.arange(1, m + 1)[:, None], best.shape)
        parts.append(
            (np.broadcast_to(ranked, best.shape), positions, HISTORY, history.items[top], best, history.ratings[top])
        )
        if history.n > m:
            parts.append((ranked, m + 1, RESIDUAL, -1, left.sum(axis=0), history.n - m))
    if len(popular):
        parts.append((popular, 1, BIAS, -1, ranking.scores[popular], np.nan))
    parts.extend(_genre_reason(genres, history.items, ranking, m))
    return _sorted_reasons(parts, first_row)


def _genre_reason(of_items: csr_matrix, items: np.ndarray, ranking: Ranking, m: int) -> list[tuple]:
    if not len(items) or not len(ranking.items):
        return []
    profile = np.asarray(of_items[items].sum(axis=0)).ravel()
    norm = np.linalg.norm(profile)
    block = of_items[ranking.items]
    lengths = np.diff(block.indptr)
    weighted = profile[block.indices]
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((block.indices, -weighted, row_of))
    first = order[np.searchsorted(row_of[order], np.flatnonzero(lengths))]
    rows, genres = row_of[first], block.indices[first]
    shared = weighted[first] > 0
    rows, genres = rows[shared], genres[shared]
    match = (
        np.bincount(row_of, weighted, len(lengths))[rows] / (norm * np.sqrt(lengths[rows]))
        if len(rows)
        else np.zeros(0)
    )
    return [(rows, m + 2, GENRE, genres, np.nan, match)]


def _sorted_reasons(parts: list[tuple], first_row: int) -> tuple[np.ndarray, ...]:
    columns = [
        np.concatenate([np.broadcast_to(part[c], np.shape(part[0])).ravel() for part in parts]).astype(kind)
        if parts
        else np.zeros(0, kind)
        for c, kind in enumerate(TYPES)
    ]
    order = np.lexsort((columns[1], columns[0]))
    rows, positions, *rest = (column[order] for column in columns)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    positions = (np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows)))) + 1).astype(np.int32)
    return (rows + first_row, positions, *rest)
