"""ials: implicit-feedback ALS; ranks items for a history."""

from __future__ import annotations

from jobs.kernels.factors import gramian
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.factors import item_factors

NAME = "ials"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)


def fit(data: TrainingData) -> ItemSide:
    settings = data.settings
    factors = item_factors(
        data.values(lambda histories: histories.strengths), data.n_items, rank=settings.ials_factors,
        maxIter=settings.ials_iterations, regParam=settings.ials_reg, alpha=settings.ials_alpha, implicitPrefs=True, seed=settings.seed,
    )
    return ItemSide(
        {"item_factors": factors, "gramian": gramian(factors)},
        {"alpha": settings.ials_alpha, "reg": settings.ials_reg, "half_life": settings.half_life},
    )
