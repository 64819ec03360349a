"""From histories to ranked, explained lists: the one function that the weekly batch and the online updater share.

    history -> fold-in -> scores -> exclusion -> top-N -> predicted rating, confidence -> reasons

Candidates come from a float32 product over all items; the few that can reach the list are scored again in float64, so
that a list does not depend on which users happened to share a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.factors import contributions, ExplicitFactors, ImplicitFactors, Posterior
from jobs.kernels.histories import Histories
from jobs.kernels.topn import FILTERED, top_n

RANKED, POPULAR_GENRE, POPULAR = 0, 1, 2
HISTORY, GENRE, BIAS, RESIDUAL = 0, 1, 2, 3
KINDS = ("history", "genre", "bias", "residual")
MARGIN = 10
FAVOURITES = 3
GENRE_DEPTH = 2000


@dataclass(frozen=True)
class ItemSide:
    """Everything that a list is computed from, besides the history.

    ranker orders lists, rater (or None) predicts ratings, popularity (n_items,) float64 orders the fallback, genres
    (n_items, n_genres) has a 1 for each genre of an item.
    """

    ranker: ImplicitFactors
    rater: ExplicitFactors | None
    popularity: np.ndarray
    genres: csr_matrix
    _by_genres: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_items(self) -> int:
        return len(self.popularity)

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items without factors: nobody interacted with them in training, so no ranker may place them."""
        return np.flatnonzero(~self.ranker.item_factors.any(axis=1))

    @cached_property
    def float32_noise(self) -> float:
        """By how much a float32 score may be off, for user factors of length 1."""
        return 1e-6 * float(np.linalg.norm(self.ranker.item_factors, axis=1).max(initial=0.0))

    @cached_property
    def by_popularity(self) -> np.ndarray:
        return np.lexsort((np.arange(self.n_items), -self.popularity)).astype(np.int32)

    @cached_property
    def genre_sizes(self) -> np.ndarray:
        return np.sqrt(np.maximum(np.diff(self.genres.indptr), 1))

    def popular_in(self, genres: tuple[int, ...]) -> np.ndarray:
        """The most popular items with one of these genres, most popular first."""
        if genres not in self._by_genres:
            wanted = np.zeros(self.genres.shape[1], bool)
            wanted[list(genres)] = True
            has = np.zeros(self.n_items, bool)
            has[np.repeat(np.arange(self.n_items), np.diff(self.genres.indptr))[wanted[self.genres.indices]]] = True
            self._by_genres[genres] = self.by_popularity[has[self.by_popularity]][:GENRE_DEPTH]
        return self._by_genres[genres]


def assemble(sides: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, Any]]], *, served: str) -> ItemSide:
    """The item side of a release from the (arrays, parameters) of its models, by name: items, popular, the served model
    and, where ratings are predicted, als."""
    items, names = sides["items"]
    n_items, genres = len(items["item_ids"]), names["genres"]
    ones = np.ones(len(items["genre_indices"]), np.float32)
    rater = ExplicitFactors(**sides["als"][0], **sides["als"][1]) if "als" in sides else None
    return ItemSide(
        ImplicitFactors(**sides[served][0], **sides[served][1]), rater, sides["popular"][0]["scores"],
        csr_matrix((ones, items["genre_indices"], items["genre_indptr"]), shape=(n_items, len(genres))),
    )


class Lists(NamedTuple):
    """Lists of u users and their reasons.

    User k has the rows indptr[k]:indptr[k + 1], in rank order: items int32, scores, predicted and confidence float64 (NaN
    where there is none), tiers int8 (RANKED, POPULAR_GENRE, POPULAR). Reason j belongs to list row reason_rows[j] and
    stands at reason_positions[j] (from 1); kinds int8 (HISTORY, GENRE, BIAS, RESIDUAL), evidence int64 (item_num, genre
    number, or -1), contributions float64 (NaN where it is not part of the sum), and values float64: the rating (HISTORY),
    the cosine of the item's genres with the history's (GENRE), the number of history items that it sums (RESIDUAL).
    """

    indptr: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    tiers: np.ndarray
    reason_rows: np.ndarray
    reason_positions: np.ndarray
    kinds: np.ndarray
    evidence: np.ndarray
    contributions: np.ndarray
    values: np.ndarray


class _Ranking(NamedTuple):
    items: np.ndarray
    scores: np.ndarray
    tiers: np.ndarray


def recommend(
    side: ItemSide, histories: Histories, *, n: int, explain_n: int, reasons_n: int, min_history: int,
    excluded: np.ndarray | None = None,
) -> Lists:
    """Lists of up to n items for each history, the first explain_n of them with up to reasons_n history reasons each.

    Nothing of a user's history is in their list, nor anything of excluded (m,) item_nums. A history shorter than
    min_history gets popular items of its favourite genres, then of all. Ties go to the lower item_num.
    """
    barred = side.untrained if excluded is None else np.union1d(side.untrained, excluded)
    posteriors = [_fold(side.ranker, histories, k, min_history) for k in range(len(histories))]
    known = [k for k, posterior in enumerate(posteriors) if posterior is not None]
    found = _candidates(side, histories, posteriors, known, n, barred)
    rows: list[_Ranking] = []
    predicted, confidence, reasons = [], [], []
    n_rows = 0
    for k, posterior in enumerate(posteriors):
        start, stop = histories.indptr[k], histories.indptr[k + 1]
        items, strengths, ratings = histories.items[start:stop], histories.strengths[start:stop], histories.ratings[start:stop]
        ranking = _rank(side, posterior, found.get(k), items, n, excluded)
        rows.append(ranking)
        predicted.append(_predict(side, items, ratings, ranking.items))
        confidence.append(_confidence(side, posterior, len(items), ranking))
        reasons.append(explain(side, posterior, items, ratings, _head(ranking, explain_n), reasons_n, first_row=n_rows))
        n_rows += len(ranking.items)
    lengths = [len(row.items) for row in rows]
    return Lists(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        *(_joined([getattr(row, name) for row in rows], kind) for name, kind in (("items", np.int32), ("scores", float))),
        _joined(predicted, float),
        _joined(confidence, float),
        _joined([row.tiers for row in rows], np.int8),
        *(_joined(column, kind) for column, kind in zip(zip(*reasons), _REASON_TYPES)) if reasons else _NO_REASONS,
    )


_REASON_TYPES = (np.int64, np.int32, np.int8, np.int64, float, float)
_NO_REASONS = tuple(np.zeros(0, kind) for kind in _REASON_TYPES)


def _joined(parts, kind) -> np.ndarray:
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)


def _head(ranking: _Ranking, n: int) -> _Ranking:
    return _Ranking(ranking.items[:n], ranking.scores[:n], ranking.tiers[:n])


def _fold(ranker: ImplicitFactors, histories: Histories, k: int, min_history: int) -> Posterior | None:
    rows = slice(histories.indptr[k], histories.indptr[k + 1])
    if rows.stop - rows.start < max(min_history, 1):
        return None
    return ranker.fold_in(histories.items[rows], histories.strengths[rows])


def _candidates(side, histories, posteriors, known, n, barred):
    """Item_nums that can reach the list of each known user: {k: (about n + MARGIN,)}."""
    if not known:
        return {}
    queries = np.array([posteriors[k].x for k in known], np.float32)
    seen = histories.matrix(side.n_items)
    seen = seen if len(known) == len(histories) else seen[known]
    items, scores = top_n(side.ranker.item_factors, queries, n + MARGIN, seen=seen, excluded=barred)
    found = {k: items[row][scores[row] > FILTERED] for row, k in enumerate(known)}
    for row, k in enumerate(known):
        noise = side.float32_noise * np.linalg.norm(queries[row])
        if len(found[k]) == n + MARGIN and scores[row, n - 1] - scores[row, -1] <= 2 * noise:
            found[k] = _near(side, queries[row], scores[row, n - 1] - 2 * noise, seen[row].indices, barred)
    return found


def _near(side, query, least, seen, barred) -> np.ndarray:
    """All item_nums that score least or more: where more items tie than the margin holds, float32 cannot choose among them."""
    scores = side.ranker.item_factors @ query
    scores[seen], scores[barred] = -np.inf, -np.inf
    return np.flatnonzero(scores >= least).astype(np.int32)


def _rank(side, posterior, candidates, history, n, excluded) -> _Ranking:
    if posterior is None:
        ranked, scores = np.zeros(0, np.int32), np.zeros(0)
    else:
        # einsum adds each row by itself; a matrix product rounds equal items differently, by where they stand in the block
        exact = np.einsum("cf,f->c", side.ranker.item_factors[candidates].astype(np.float64), posterior.x)
        order = np.lexsort((candidates, -exact))[:n]
        ranked, scores = candidates[order], exact[order]
    tiers = np.full(len(ranked), RANKED, np.int8)
    if len(ranked) == n:
        return _Ranking(ranked, scores, tiers)
    more, more_tiers = fallback(side, history, n - len(ranked), np.concatenate([history, ranked, _none(excluded)]))
    return _Ranking(
        np.concatenate([ranked, more]), np.concatenate([scores, side.popularity[more]]), np.concatenate([tiers, more_tiers])
    )


def _none(excluded: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, np.int32) if excluded is None else excluded


def fallback(side: ItemSide, history: np.ndarray, n: int, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Popular items of the history's favourite genres, then of all: item_num (<= n,) and tiers."""
    counts = np.asarray(side.genres[history].sum(axis=0)).ravel() if len(history) else np.zeros(side.genres.shape[1])
    favourites = tuple(int(g) for g in np.lexsort((np.arange(len(counts)), -counts))[:FAVOURITES] if counts[g] > 0)
    liked = side.popular_in(favourites) if favourites else np.zeros(0, np.int32)
    first = liked[~np.isin(liked, left_out)][:n]
    rest = np.zeros(0, np.int32)
    if len(first) < n:
        reach = side.by_popularity[: n + len(left_out) + len(first)]
        rest = reach[~np.isin(reach, np.concatenate([left_out, first]))][: n - len(first)]
    tiers = np.repeat(np.array([POPULAR_GENRE, POPULAR], np.int8), [len(first), len(rest)])
    return np.concatenate([first, rest]).astype(np.int32), tiers


def _predict(side, items, ratings, targets) -> np.ndarray:
    if side.rater is None:
        return np.full(len(targets), np.nan)
    rated = ~np.isnan(ratings)
    return side.rater.predict(side.rater.fold_in(items[rated], ratings[rated]), targets)


def _confidence(side, posterior, n_history, ranking) -> np.ndarray:
    values = np.full(len(ranking.items), np.nan)
    if posterior is not None:
        ranked = ranking.tiers == RANKED
        values[ranked] = side.ranker.variance_reduction(posterior, n_history, ranking.items[ranked])
    return values


def explain(
    side: ItemSide, posterior: Posterior | None, items: np.ndarray, ratings: np.ndarray, ranking: _Ranking, reasons_n: int,
    first_row: int = 0,
) -> tuple[np.ndarray, ...]:
    """Reasons of the rows of one user's ranking, as the last six arrays of Lists, rows counted from first_row.

    A ranked item gets the history's strongest contributions, the best first, then the residual (the sum of all others);
    a popular one has its popularity for a bias. Either gets the genre that it shares most with the history, last.
    """
    ranked = np.flatnonzero(ranking.tiers == RANKED) if posterior is not None else np.zeros(0, np.int64)
    popular = np.setdiff1d(np.arange(len(ranking.items)), ranked)
    parts = []
    m = min(reasons_n, len(items))
    if len(ranked):
        shares = contributions(side.ranker.item_factors, posterior, items, ranking.items[ranked])
        top = np.argsort(-shares, axis=0, kind="stable")[:m]
        best = np.take_along_axis(shares, top, axis=0)
        left = shares.copy()
        np.put_along_axis(left, top, 0.0, axis=0)
        positions = np.broadcast_to(np.arange(1, m + 1)[:, None], best.shape)
        parts.append((np.broadcast_to(ranked, best.shape), positions, HISTORY, items[top], best, ratings[top]))
        if len(items) > m:
            parts.append((ranked, m + 1, RESIDUAL, -1, left.sum(axis=0), len(items) - m))
    if len(popular):
        parts.append((popular, 1, BIAS, -1, ranking.scores[popular], np.nan))
    parts.extend(_genre_reason(side, items, ranking, m))
    return _sorted_reasons(parts, first_row)


def _genre_reason(side, items, ranking, m) -> list[tuple]:
    if not len(items) or not len(ranking.items):
        return []
    profile = np.asarray(side.genres[items].sum(axis=0)).ravel()
    norm = np.linalg.norm(profile)
    block = side.genres[ranking.items]
    lengths = np.diff(block.indptr)
    weighted = profile[block.indices]
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((block.indices, -weighted, row_of))
    first = order[np.searchsorted(row_of[order], np.flatnonzero(lengths))]
    rows, genres = row_of[first], block.indices[first]
    shared = weighted[first] > 0
    rows, genres = rows[shared], genres[shared]
    match = np.bincount(row_of, weighted, len(lengths))[rows] / (norm * np.sqrt(lengths[rows])) if len(rows) else np.zeros(0)
    return [(rows, m + 2, GENRE, genres, np.nan, match)]


def _sorted_reasons(parts: list[tuple], first_row: int) -> tuple[np.ndarray, ...]:
    columns = [
        np.concatenate([np.broadcast_to(part[c], np.shape(part[0])).ravel() for part in parts]).astype(kind)
        if parts else np.zeros(0, kind)
        for c, kind in enumerate(_REASON_TYPES)
    ]
    order = np.lexsort((columns[1], columns[0]))
    rows, positions, *rest = (column[order] for column in columns)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    positions = (np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows)))) + 1).astype(np.int32)
    return (rows + first_row, positions, *rest)
