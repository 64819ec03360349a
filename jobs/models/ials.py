"""ials: implicit-feedback ALS; ranks items for a history."""

from __future__ import annotations

from jobs.kernels.factors import gramian
from jobs.models.als_engines import item_factors
from jobs.models.alternating import Equations
from jobs.models.contract import Capabilities, ItemSide, TrainingData

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
