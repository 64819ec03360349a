"""Lists of a model in `bench accuracy`: those that would be served, where the model can be; from its scores of all items where not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs.kernels.evaluation.metrics import fixed_width
from jobs.kernels.histories import Histories
from jobs.kernels.recommender import Recommender
from jobs.kernels.selection import best, best_among, of_candidates
from jobs.kernels.spans import owners
from jobs.models import popular
from jobs.models.base.contract import ModelArrays, TrainingData
from jobs.models.base.judge import listable
from jobs.models.registry import recommender_of, scorer_of
from schemas.models import RANKERS
from schemas.setting_groups import OFF

OWN_MOST_FREQUENT = "own_most_frequent"  # no model: what the user had most often, then what is popular

Lister = Callable[[Histories, Histories, np.ndarray | None], np.ndarray]
"""From the histories of users, the rows that were kept out, and candidates (u, c) or None for all items but those of the history, to lists
(u, n) item_num, -1 where one is shorter."""


def lister(name: str, side: ModelArrays, data: TrainingData, *, n: int) -> Lister:
    """Return what makes the lists of n items of a fitted model, or of OWN_MOST_FREQUENT."""
    if name == OWN_MOST_FREQUENT:
        return _by_own_frequency(data, n)
    return _as_served(recommender_of(name, side, data, n=n)) if name in RANKERS else _by_scores(name, side, data, n)


def _as_served(served: Recommender) -> Lister:
    def lists(kept: Histories, held: Histories, candidates: np.ndarray | None) -> np.ndarray:
        if candidates is None:
            listed = served.lists(kept)
            return fixed_width(listed.indptr, listed.items, served.n)
        scores, tiers = np.full(candidates.shape, -np.inf), np.zeros(candidates.shape, np.int8)
        for k, row in enumerate(candidates):
            is_one = row >= 0
            ranking = served.ranking(kept.block(k, k + 1), row[is_one])
            scores[k, is_one], tiers[k, is_one] = ranking.scores, ranking.tiers
        return best_among(scores, candidates, held.indptr, held.items, served.n, tiers=tiers)

    return lists


def _by_own_frequency(data: TrainingData, n: int) -> Lister:
    """Lists of what the users had most often, of as often the more popular first; filled with what is popular."""
    popularity = popular.fit(data).arrays["scores"]
    near = 0.5 * popularity / max(popularity.max(initial=0.0), 1e-9)  # never as much as one more time
    places = _places(popularity)

    def lists(kept: Histories, held: Histories, candidates: np.ndarray | None) -> np.ndarray:
        scores = np.tile(near, (len(kept), 1))
        scores[owners(kept.indptr), kept.items] += kept.counts
        nothing = kept.emptied()
        return best(scores, nothing.indptr, nothing.items, places, n)

    return lists


def _by_scores(name: str, side: ModelArrays, data: TrainingData, n: int) -> Lister:
    """Users without a history get what is popular, which ties go to as well."""
    liked = popular.fit(data)
    score, by_popularity, places = scorer_of(name, side, data), popular.scorer(liked, data), _places(liked.arrays["scores"])

    def lists(kept: Histories, held: Histories, candidates: np.ndarray | None) -> np.ndarray:
        scores, empty = score(kept), np.flatnonzero(np.diff(kept.indptr) == 0)
        scores[empty] = by_popularity(kept.take(empty))
        if candidates is None:
            out = kept if data.settings.repeats == OFF else kept.emptied()
            return best(listable(scores, kept, data.settings.repeats), out.indptr, out.items, places, n)
        return best_among(of_candidates(scores, candidates), candidates, held.indptr, held.items, n)

    return lists


def _places(scores: np.ndarray) -> np.ndarray:
    """Return the place of each item in the order of their scores, the largest first, (n_items,)."""
    places = np.empty(len(scores), np.int64)
    places[np.lexsort((np.arange(len(scores)), -scores))] = np.arange(len(scores))
    return places
