"""ials: implicit-feedback ALS; ranks items for a history.

What regularisation suits depends on how sparse the data are. For squared errors of all pairs, those without an interaction
weighted a0 = 1 / alpha, Rendle et al. 2022 scale lambda by n + a0 I, I the number of items; with lambda scaled by n alone, as
here, the same strength at the mean row n is reg = lambda (1 + a0) / a0 * (1 + a0 I / n). Around it a few are tried. Where most
items are rare the mean says little: the rule would ask for so much that every factor is zero, so no search begins above MOST_REG.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.models.als_engines import item_factors
from jobs.models.alternating import Equations
from jobs.models.contract import ModelArrays, Scorer, TrainingData
from jobs.models.scoring import by_factors
from jobs.models.tuning import half_life_of, hill_climb, Judge, judge_of, preset

SPARSE_LAMBDA = 0.008
MOST_REG = 0.5
STEPS = (4.0, 2.0)
TRIED, TRIED_TUNING = 5, 8
ALPHAS_TUNING = (0.3, 3.0)  # times the setting
SEARCH_ROWS = 300_000  # more rows are not searched on: every n-th user instead
SEARCH_ITERATIONS = 6


def fit(data: TrainingData) -> ModelArrays:
    settings, judge = data.settings, judge_of(data)
    alpha, reg = data.chosen.get("alpha", settings.ials_alpha), preset(data, "reg", settings.ials_reg)
    if reg is None:
        alpha, reg = (alpha, sparse_reg(data, alpha)) if judge is None else _searched(data, judge)
    factors, engine = _factors(data, alpha, reg)
    found = ImplicitFactors(factors, gramian(factors), alpha, reg)
    half_life = half_life_of(data, judge, lambda at: by_factors(found, at))
    return ModelArrays(
        {"item_factors": found.item_factors, "gramian": found.gramian},
        {"alpha": alpha, "reg": reg, "half_life": half_life, "engine": engine},
    )


def sparse_reg(data: TrainingData, alpha: float) -> float:
    """Where the search for reg begins: the rule above, for the items that have interactions."""
    n_users = int((np.diff(data.interactions.indptr) > 0).sum())
    mean = len(data.interactions) / max(n_users, 1)
    return min(SPARSE_LAMBDA * (1 + alpha) * (1 + int((data.n_ratings > 0).sum()) / (alpha * max(mean, 1))), MOST_REG)


def _factors(data: TrainingData, alpha: float, reg: float, *, most: int | None = None) -> tuple[np.ndarray, str]:
    settings = data.settings
    n_iterations = min(settings.ials_iterations, most or settings.ials_iterations)
    equations = Equations(alpha, reg, settings.ials_factors, n_iterations, settings.seed)
    return item_factors(data, lambda histories: histories.strengths, equations)


def _searched(data: TrainingData, judge: Judge) -> tuple[float, float]:
    """alpha and reg that rank best on the validation users, at the half-life that suits the first of them."""
    sample = data.sampled(SEARCH_ROWS)
    half_lives: list[float] = []

    def value_at(alpha: float) -> Callable[[float], float]:
        def value(reg: float) -> float:
            factors, _ = _factors(sample, alpha, reg, most=SEARCH_ITERATIONS)
            found = ImplicitFactors(factors, gramian(factors), alpha, reg)
            if not half_lives:
                half_lives.append(half_life_of(data, judge, lambda at: by_factors(found, at)))
            return judge.ndcg(by_factors(found, half_lives[0]))

        return value

    first, most = data.settings.ials_alpha, TRIED_TUNING if data.tune else TRIED
    alphas = [first, *(first * factor for factor in ALPHAS_TUNING)] if data.tune else [first]
    found = []
    for alpha in alphas:
        reg, value = hill_climb(value_at(alpha), sparse_reg(data, alpha), factors=STEPS, most=most)
        found.append((value, alpha, reg))
    _, alpha, reg = max(found)
    return alpha, reg


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    return by_factors(factors_of(side), side.parameters["half_life"])


def factors_of(side: ModelArrays) -> ImplicitFactors:
    return ImplicitFactors(**side.arrays, alpha=side.parameters["alpha"], reg=side.parameters["reg"])
