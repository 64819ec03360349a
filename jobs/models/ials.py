"""ials: implicit-feedback ALS; ranks items for a history."""

from __future__ import annotations

from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.models.als_engines import item_factors
from jobs.models.alternating import Equations
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.scoring import by_factors

NAME = "ials"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)


def fit(data: TrainingData) -> ItemSide:
    settings = data.settings
    equations = Equations(
        settings.ials_alpha, settings.ials_reg, settings.ials_factors, settings.ials_iterations, settings.seed
    )
    factors, engine = item_factors(data, lambda histories: histories.strengths, equations)
    return ItemSide(
        {"item_factors": factors, "gramian": gramian(factors)},
        {"alpha": settings.ials_alpha, "reg": settings.ials_reg, "half_life": settings.half_life, "engine": engine},
    )


def scorer(side: ItemSide, data: TrainingData) -> Scorer:
    return by_factors(factors_of(side), side.parameters["half_life"])


def factors_of(side: ItemSide) -> ImplicitFactors:
    return ImplicitFactors(**side.arrays, alpha=side.parameters["alpha"], reg=side.parameters["reg"])
