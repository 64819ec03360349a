"""svd: the strongest directions of what biases leave of the ratings; predicts ratings, and folds a user in without a solve."""

from __future__ import annotations

from dataclasses import replace

from jobs.kernels.training import svd
from jobs.kernels.training.svd import SvdFactors
from jobs.models.contract import ModelArrays, Scorer, TrainingData
from jobs.models.scoring import by_rating
from jobs.models.tuning import judge_of

FACTORS_TRIED = (4, 8, 12, 20)
FIRST_FACTORS = 12
TUNED_SHRINKAGE = (0.25, 0.5, 1.0)


def fit(data: TrainingData) -> ModelArrays:
    """The number of factors is chosen by the error on validation users: fewer are the first columns of more."""
    settings, judge = data.settings, judge_of(data)
    n_factors, shrinkage = data.chosen.get("n_factors", settings.svd_factors), data.chosen.get("shrinkage", 0.0)
    if not n_factors and judge is not None:
        whole = _fitted(data, max(FACTORS_TRIED), 0.0)
        errors = {n: judge.rmse(replace(whole, item_factors=whole.item_factors[:, :n])) for n in FACTORS_TRIED}
        n_factors = min(errors, key=lambda n: errors[n])
        if data.tune:
            by_shrinkage = {t: judge.rmse(_fitted(data, n_factors, t)) for t in TUNED_SHRINKAGE}
            best = min(by_shrinkage, key=lambda t: by_shrinkage[t])
            shrinkage = best if by_shrinkage[best] < errors[n_factors] else 0.0
    found = _fitted(data, n_factors or FIRST_FACTORS, shrinkage)
    constants = {name: getattr(found, name) for name in ("mu", "damping", "low", "high")}
    return ModelArrays(
        {"item_factors": found.item_factors, "item_biases": found.item_biases},
        constants | {"n_factors": found.item_factors.shape[1], "shrinkage": shrinkage},
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
