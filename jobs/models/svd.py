"""svd: the strongest directions of what biases leave of the ratings; predicts ratings, and folds a user in without a solve."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from jobs.kernels.training import svd
from jobs.kernels.training.svd import SvdFactors
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.scoring import by_rating
from jobs.models.base.search import Choice, Search

FACTORS_TRIED = (4, 8, 12, 20)
SEARCH = Search(
    (
        Choice("n_factors", first=12, values=FACTORS_TRIED, setting="svd_factors"),
        Choice("shrinkage", first=0.0, tuning=(0.0, 0.25, 0.5, 1.0)),
    ),
    by_ratings=True,
)


def fit(data: TrainingData) -> ModelArrays:
    """The number of factors is chosen by the error on validation users: fewer are the first columns of more."""
    judge = judge_of(data)
    whole = cache(lambda shrinkage: _fitted(data, max(FACTORS_TRIED), shrinkage))

    def fitted(_: TrainingData, values: dict[str, Any]) -> SvdFactors:
        directions = whole(values["shrinkage"])
        return replace(directions, item_factors=directions.item_factors[:, : values["n_factors"]])

    values, _ = SEARCH.chosen(data, judge, fitted)
    factors = _fitted(data, **values)
    constants = {name: getattr(factors, name) for name in ("mu", "damping", "low", "high")}
    return ModelArrays(
        {"item_factors": factors.item_factors, "item_biases": factors.item_biases},
        constants | values | {"n_factors": factors.item_factors.shape[1]},
    )


def _fitted(data: TrainingData, n_factors: int, shrinkage: float) -> SvdFactors:
    rows, (low, high), damping = data.interactions, data.rating_scale, data.settings.bias_damping
    return svd.fit(
        rows.histories(0, rows.n_users),
        data.n_items,
        n_factors,
        low=low,
        high=high,
        seed=data.settings.seed,
        shrinkage=shrinkage,
        item_damping=damping,
        damping=damping,
    )


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    return by_rating(rater(side), data.n_ratings)


def rater(side: ModelArrays) -> SvdFactors:
    return SvdFactors(**side.arrays, **{name: side.parameters[name] for name in ("mu", "damping", "low", "high")})
