"""ials: implicit-feedback ALS; ranks items for a history.

What regularisation suits depends on how sparse the data are. For squared errors of all pairs, those without an interaction
weighted a0 = 1 / alpha, Rendle et al. 2022 scale lambda by n + a0 I, I the number of items; with lambda scaled by n alone, as
here, the same strength at the mean row n is reg = lambda (1 + a0) / a0 * (1 + a0 I / n). Around it a few are tried. Where most
items are rare the mean says little: the rule would ask for so much that every factor is zero, so no search begins above MOST_REG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.models.base.als_engines import item_factors
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.scoring import by_part
from jobs.models.base.search import Choice, Climb, half_life_of, Search, Values

SPARSE_LAMBDA = 0.008
MOST_REG = 0.5
SEARCH_ITERATIONS = 6


def sparse_reg(data: TrainingData, chosen: Values) -> float:
    """Where the search for reg begins: the rule above, for the items that have interactions."""
    n_users, alpha = int((np.diff(data.interactions.indptr) > 0).sum()), chosen["alpha"]
    mean = len(data.interactions) / max(n_users, 1)
    return min(SPARSE_LAMBDA * (1 + alpha) * (1 + int((data.n_ratings > 0).sum()) / (alpha * max(mean, 1))), MOST_REG)


SEARCH = Search(
    (
        Choice(
            "alpha",
            first=lambda data, _: data.settings.ials_alpha,
            tuning=lambda data, _: [times * data.settings.ials_alpha for times in (1.0, 0.3, 3.0)],
        ),
        Choice("reg", first=sparse_reg, climb=Climb((4.0, 2.0), 5, 8), setting="ials_reg"),
    ),
    rows=300_000,
)


def fit(data: TrainingData) -> ModelArrays:
    judge = judge_of(data)

    def fitted(of: TrainingData, values: dict[str, float]) -> Callable[[float], Scorer]:
        factors, _ = _factors(of, values["alpha"], values["reg"], most=SEARCH_ITERATIONS)
        return _scorer_at(ImplicitFactors(factors, gramian(factors), **values))

    values, _ = SEARCH.chosen(data, judge, fitted)
    factors, engine = _factors(data, values["alpha"], values["reg"])
    side = ImplicitFactors(factors, gramian(factors), **values)
    return ModelArrays(
        {"item_factors": side.item_factors, "gramian": side.gramian},
        {**values, "half_life": half_life_of(data, judge, _scorer_at(side)), "engine": engine},
    )


def _scorer_at(factors: ImplicitFactors) -> Callable[[float], Scorer]:
    return lambda half_life: by_part(replace(factors, half_life=half_life))


def _factors(data: TrainingData, alpha: float, reg: float, *, most: int | None = None) -> tuple[np.ndarray, str]:
    settings = data.settings
    n_iterations = min(settings.ials_iterations, most or settings.ials_iterations)
    equations = Equations(alpha, reg, settings.ials_factors, n_iterations, settings.seed)
    return item_factors(data, lambda histories: histories.strengths, equations)


def factors_of(side: ModelArrays) -> ImplicitFactors:
    return ImplicitFactors(**side.arrays, alpha=side.parameters["alpha"], reg=side.parameters["reg"])
