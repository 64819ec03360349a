"""user_neighbours: what users of similar taste have; compares a history with a sample of users, so it is not served online."""

from __future__ import annotations

import numpy as np

from jobs.kernels.histories import Histories
from jobs.kernels.user_neighbours import ReferenceUsers, USERS_AT_ONCE
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, half_life_of, Search

SEARCH = Search((Choice("n_neighbours", 100, (50, 100, 200), (25, 50, 100, 200, 400, 800), setting="neighbours_n"),))


def fit(data: TrainingData) -> ModelArrays:
    """The sample of users; how many of them are neighbours is chosen on validation users."""
    settings, judge = data.settings, judge_of(data)
    sample = data.interactions.some(settings.neighbour_users)
    sample = sample.take(np.flatnonzero(np.diff(sample.indptr)))
    others = ReferenceUsers(*_rows(sample), data.n_items)
    scorer_at = lambda n: lambda half_life: _scorer(others, n, half_life)
    values, half_life = SEARCH.chosen(data, judge, lambda _, values: scorer_at(values["n_neighbours"]))
    half_life = half_life or half_life_of(data, judge, scorer_at(values["n_neighbours"]))
    names = ("indptr", "items", "strengths", "ratings")
    constants = {**values, "half_life": half_life, "n_users": len(sample)}
    return ModelArrays(dict(zip(names, _rows(sample))), constants, unknown=("ratings",))


def _rows(sample: Histories) -> tuple[np.ndarray, ...]:
    return sample.indptr, sample.items, sample.strengths.astype(np.float32), sample.ratings.astype(np.float32)


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    others = ReferenceUsers(*(side.arrays[name] for name in ("indptr", "items", "strengths", "ratings")), data.n_items)
    return _scorer(others, side.parameters["n_neighbours"], side.parameters["half_life"])


def _scorer(others: ReferenceUsers, n: int, half_life: float) -> Scorer:
    def scores(histories: Histories) -> np.ndarray:
        queries = histories.weighted(others.n_items, half_life)
        blocks = [queries[start : start + USERS_AT_ONCE] for start in range(0, len(histories), USERS_AT_ONCE)]
        of_items = np.concatenate([others.scores(others.nearest(block, n)) for block in blocks])
        of_items[:, others.untrained] = -np.inf
        return of_items

    return scores
