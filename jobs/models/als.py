"""als: explicit ALS on ratings less the overall mean and the biases of user and item; predicts ratings."""

from __future__ import annotations

from jobs.kernels.factors import centred, ExplicitFactors
from jobs.models.als_engines import item_factors
from jobs.models.alternating import Equations
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.scoring import by_rating

NAME = "als"
CAPABILITIES = Capabilities(predicts_rating=True, folds_in=True, attributes=True, needs_ratings=True)


def fit(data: TrainingData) -> ItemSide:
    settings, damping = data.settings, data.settings.bias_damping
    mu = float(data.rating_sum.sum() / data.n_ratings.sum())
    biases = (data.rating_sum - mu * data.n_ratings) / (data.n_ratings + damping)
    low, high = data.rating_scale
    equations = Equations(None, settings.als_reg, settings.als_factors, settings.als_iterations, settings.seed)
    factors, engine = item_factors(data, lambda histories: centred(histories, mu, biases, damping), equations)
    return ItemSide(
        {"item_factors": factors, "item_biases": biases},
        {"mu": mu, "reg": settings.als_reg, "damping": damping, "low": low, "high": high, "engine": engine},
    )


def scorer(side: ItemSide, data: TrainingData) -> Scorer:
    return by_rating(rater(side), data.n_ratings)


def rater(side: ItemSide) -> ExplicitFactors:
    named = {name: side.parameters[name] for name in ("mu", "reg", "damping", "low", "high")}
    return ExplicitFactors(**side.arrays, **named)
