"""From histories to ranked, explained lists: the one function that the weekly batch and the online updater share.

    history -> fold-in -> candidates -> scores -> top-N -> predicted rating, confidence -> reasons

A ranker finds candidates for a block of users at once; the few that can reach a list are scored again one by one, in
float64, so that a list does not depend on which users happened to share a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels import reasons, spans
from jobs.kernels.histories import Histories, History
from jobs.kernels.item_side import ItemSide, OFF, ONLY
from jobs.kernels.reasons import RANKED, Ranking
from jobs.kernels.reranking import POOL, rerank
from jobs.kernels.weights import blocks_of

POPULAR_GENRE, POPULAR = 1, 2
FAVOURITES = 3
CELLS = 1 << 22  # scores that are in memory at a time, 16 MiB and as much again for what they are computed from
ROW_CELLS = 400  # what a row of a history takes beside them: it may reach some hundred items


class Lists(NamedTuple):
    """Lists of u users and their reasons.

    User k has the rows indptr[k]:indptr[k + 1], in rank order: items int32, scores, predicted and confidence float64 (NaN
    where there is none), tiers int8 (RANKED, POPULAR_GENRE, POPULAR), model_ranks int32 (the rank before re-ranking, 0 where
    there was none). Reason j belongs to list row reason_rows[j] and
    stands at reason_positions[j] (from 1); kinds int8 (HISTORY, GENRE, BIAS, RESIDUAL, SIMILAR_USERS), evidence int64
    (item_num, genre number, how many similar users, or -1), contributions float64 (NaN if it is not part of the sum), and
    values float64: the rating (HISTORY), or how often the user had it where it is the item itself, the cosine of the item's genres with the history's (GENRE), how much better than the mean
    everybody rates the item (BIAS of a RANKED row), the number of history items that it sums (RESIDUAL), the mean rating of the
    similar users (SIMILAR_USERS).
    """

    indptr: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    tiers: np.ndarray
    model_ranks: np.ndarray
    reason_rows: np.ndarray
    reason_positions: np.ndarray
    kinds: np.ndarray
    evidence: np.ndarray
    contributions: np.ndarray
    values: np.ndarray

    @property
    def owners(self) -> np.ndarray:
        """Return the user of each list row, (m,)."""
        return spans.owners(self.indptr)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of `recommendations` that are numbers, (m,) each; NaN, and a model_rank of 0, stand for what is null."""
        return {
            "rank": spans.places(self.indptr) + 1,
            "score": self.scores,
            "predicted_rating": self.predicted,
            "confidence": self.confidence,
            "model_rank": self.model_ranks,
        }

    def named_columns(self, item_ids: np.ndarray, served: str) -> dict[str, np.ndarray]:
        """Return the columns with the ids of the items and the names of the sources, as one user's rows have them.

        Parameters
        ----------
        item_ids : (n_items,) ids by item_num
        served : the model that ranks
        """
        return self.columns() | {"item_id": item_ids[self.items], "source": np.array(sources(served))[self.tiers]}


def sources(served: str) -> tuple[str, str, str]:
    """Return what `source` says of a row by its tier: the model that ranks, or the fallback that stood in for it."""
    return served, "popular_genre", "popular"


def recommend(
    side: ItemSide,
    histories: Histories,
    *,
    n: int,
    explain_n: int,
    reasons_n: int,
    min_history: int,
    excluded: np.ndarray | None = None,
) -> Lists:
    """Compute the list of each history, with its reasons.

    No item of a user's history is in their list, under any id, unless the side lets it come again; nor a blocked one, nor one of excluded.
    Of twins a list has the one that ranks best. A history shorter than min_history gets popular items of its favourite genres, then of all. Ties go to the lower item_num.

    Parameters
    ----------
    n : the most items in a list
    explain_n : how many of the first rows get reasons
    reasons_n : the most history reasons of a row
    min_history : the shortest history that is ranked by
    excluded : (m,) item_num or None
    """
    return _lists(
        side, histories, lambda block: [fold_in(side, block.user(k), min_history) for k in range(len(block))],
        n=n, explain_n=explain_n, reasons_n=reasons_n, excluded=excluded,
    )  # fmt: skip


def popular_lists(side: ItemSide, histories: Histories, *, n: int, explain_n: int = 0, reasons_n: int = 0) -> Lists:
    """Compute the lists of histories that are too short to rank by: popular items of their favourite genres, then of all."""
    return _lists(side, histories, lambda block: [None] * len(block), n=n, explain_n=explain_n, reasons_n=reasons_n, excluded=None)


def _lists(
    side: ItemSide,
    histories: Histories,
    fold_block: Callable[[Histories], list[Any]],
    *,
    n: int,
    explain_n: int,
    reasons_n: int,
    excluded: np.ndarray | None,
) -> Lists:
    excluded = side.blocked if excluded is None else np.union1d(side.blocked, excluded)
    reach = n if side.reranking is None else max(n, POOL)
    reach += side.twins.more(reach)
    unrankable = np.union1d(side.ranker.untrained, excluded)
    blocks = []
    for span in _blocks(histories, side.n_items):
        block = histories.block(span.start, span.stop)
        users, out = fold_block(block), side.left_out(block)
        known = np.array([k for k, user in enumerate(users) if user is not None], np.int64)
        if side.repeats == ONLY:
            of_known = [np.setdiff1d(block.user(k).items, unrankable) for k in known]
        else:
            of_known = side.ranker.candidates(out.take(known), [users[k] for k in known], reach, unrankable) if len(known) else []
        candidates = dict(zip(known.tolist(), of_known))
        rankings = [
            _rank(side, user, candidates.get(k), block.user(k), n, np.concatenate([out.user(k).items, excluded]))
            for k, user in enumerate(users)
        ]
        blocks.append(lists_of(side, block, users, rankings, explain_n=explain_n, reasons_n=reasons_n))
    return _stacked(blocks)


def _blocks(histories: Histories, n_items: int) -> Iterator[slice]:
    """Users whose scores of all items, and whose histories, are in memory at a time."""
    costs = n_items + ROW_CELLS * np.diff(histories.indptr)
    return blocks_of(costs, CELLS)


def fold_in(side: ItemSide, history: History, min_history: int) -> Any:
    """Fold a history in; None if it is too short to rank by. What may come again can be told of any history that is not empty."""
    least = max(min_history, 1) if side.repeats == OFF else 1
    return None if history.n < least else side.ranker.fold_in(history)


def lists_of(
    side: ItemSide,
    histories: Histories,
    users: list[Any],
    rankings: list[Ranking],
    *,
    explain_n: int,
    reasons_n: int,
    is_whole: bool = False,
) -> Lists:
    """Put the rankings of a block of users together, with all that Lists says of them.

    With is_whole every row of a history is among the reasons, if reasons_n holds so many.
    """
    lengths = np.array([len(ranking.items) for ranking in rankings], np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    rows = [(histories.user(k), user, ranking) for k, (user, ranking) in enumerate(zip(users, rankings))]
    parts, is_liked = [], np.split(side.is_liked(histories), histories.indptr[1:-1])
    for (history, user, ranking), liked, first in zip(rows, is_liked, indptr.tolist()):
        explained = reasons.explain(
            side.ranker, user, history, ranking.head(explain_n), reasons_n,
            is_liked=liked, over_mean=None if side.rater is None else side.rater.item_biases, is_whole=is_whole,
        )  # fmt: skip
        parts += [(part[0] + first, *part[1:]) for part in explained]
    items = _joined([r.items for r in rankings], np.int32)
    user_of = spans.owners(indptr)
    shown = np.flatnonzero(spans.places(indptr) < explain_n)
    at, genres, match = reasons.genre_reasons(side.genres, histories, user_of[shown], items[shown])
    parts.append((shown[at], reasons.LAST - 1, reasons.GENRE, genres, np.nan, match))
    if side.others is not None:
        at, n, means = reasons.similar_user_reasons(side.others, histories, user_of[shown], items[shown])
        parts.append((shown[at], reasons.LAST, reasons.SIMILAR_USERS, n, np.nan, means))
    return Lists(
        indptr,
        items,
        _joined([r.scores for r in rankings], float),
        _joined([_predict(side, history, ranking.items) for history, _, ranking in rows], float),
        _joined([_confidence(side, history, ranking) for history, _, ranking in rows], float),
        _joined([r.tiers for r in rankings], np.int8),
        _joined([r.model_ranks for r in rankings], np.int32),
        *reasons.concatenated(parts),
    )


def _stacked(blocks: list[Lists]) -> Lists:
    """Put the lists of several blocks of users one block after another."""
    if len(blocks) == 1:
        return blocks[0]
    first = np.cumsum([0] + [len(block.items) for block in blocks])
    columns = {name: [getattr(block, name) for block in blocks] for name in Lists._fields}
    columns["indptr"] = [np.zeros(1, np.int64), *(block.indptr[1:] + at for block, at in zip(blocks, first))]
    columns["reason_rows"] = [block.reason_rows + at for block, at in zip(blocks, first)]
    kinds = (np.int64, np.int32, float, float, float, np.int8, np.int32, *reasons.TYPES)
    return Lists(*(_joined(parts, kind) for parts, kind in zip(columns.values(), kinds)))


def _joined(parts: list[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)


def _rank(side: ItemSide, user: Any, candidates: np.ndarray | None, history: History, n: int, excluded: np.ndarray) -> Ranking:
    if user is None or candidates is None:
        ranked, scores, model_ranks = np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int32)
    else:
        ranked, scores, model_ranks = _ranked(side, user, candidates, history, n)
    tiers = np.full(len(ranked), RANKED, np.int8)
    if len(ranked) == n:
        return Ranking(ranked, scores, tiers, model_ranks)
    more, more_tiers = fallback(side, history.items, n - len(ranked), np.concatenate([excluded, side.twins.with_others(ranked)]))
    return Ranking(
        np.concatenate([ranked, more]),
        np.concatenate([scores, side.popularity[more]]),
        np.concatenate([tiers, more_tiers]),
        np.concatenate([model_ranks, np.zeros(len(more), np.int32)]),
    )


def _ranked(side: ItemSide, user: Any, candidates: np.ndarray, history: History, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first n by score, or as they are re-ranked, with their ranks by score, 0 if nothing was re-ranked."""
    exact = side.ranker.scores(user, candidates)
    by_score = np.lexsort((candidates, -exact))
    by_score = by_score[side.twins.once(candidates[by_score])]
    if side.reranking is None:
        by_score = by_score[:n]
        return candidates[by_score], exact[by_score], np.zeros(len(by_score), np.int32)
    by_score = by_score[: max(n, POOL)]
    places = rerank(side.reranking, side.genres, history.items, history.strengths, candidates[by_score], exact[by_score])[:n]
    chosen = by_score[places]
    return candidates[chosen], exact[chosen], (places + 1).astype(np.int32)


def fallback(side: ItemSide, history: np.ndarray, n: int, excluded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Popular items of the history's favourite genres, then of all, or those of the history alone: item_num (<= n,) and tiers."""
    if side.repeats == ONLY:
        own = np.setdiff1d(history, excluded)
        own = _once(side, own[np.lexsort((own, -side.popularity[own]))])[:n]
        return own.astype(np.int32), np.full(len(own), POPULAR, np.int8)
    counts = np.bincount(reasons.genres_of(side.genres, history)[1], minlength=side.genres.shape[1])
    favourites = tuple(int(g) for g in np.lexsort((np.arange(len(counts)), -counts))[:FAVOURITES] if counts[g] > 0)
    liked = side.popular_in(favourites) if favourites else np.zeros(0, np.int32)
    first = _once(side, liked[~np.isin(liked, excluded)])[:n]
    rest = np.zeros(0, np.int32)
    if len(first) < n:
        excluded = np.concatenate([excluded, side.twins.with_others(first)])
        reach = side.by_popularity[: n + side.twins.more(n) + len(excluded)]
        rest = _once(side, reach[~np.isin(reach, excluded)])[: n - len(first)]
    tiers = np.repeat(np.array([POPULAR_GENRE, POPULAR], np.int8), [len(first), len(rest)])
    return np.concatenate([first, rest]).astype(np.int32), tiers


def _once(side: ItemSide, items: np.ndarray) -> np.ndarray:
    return items[side.twins.once(items)]


def _predict(side: ItemSide, history: History, targets: np.ndarray) -> np.ndarray:
    if side.rater is None:
        return np.full(len(targets), np.nan)
    return side.rater.predict(side.rater.posterior(*history.rated), targets)


def _confidence(side: ItemSide, history: History, ranking: Ranking) -> np.ndarray:
    values = np.full(len(ranking.items), np.nan)
    ranked = ranking.tiers == RANKED
    if side.factors is not None and ranked.any():
        values[ranked] = side.factors.confidence(history, ranking.items[ranked])
    return values
