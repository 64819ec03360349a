"""als: explicit ALS on ratings less the overall mean and the biases of user and item; predicts ratings.

The biases are damped means of what the other side's biases leave, taken in turn until they settle; the user's is taken again
from the history whenever a rating is predicted. An item's factors are damped like its bias, n / (n + damping) of what was solved:
the regularisation grows with the ratings of a row, so it alone would let one rating place an item as surely as a thousand.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels.biases import centred, damped, item_biases
from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.histories import Histories
from jobs.models.base.als_engines import item_factors
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.scoring import by_rating
from jobs.models.base.search import Choice, Climb, Search

SEARCH = Search((Choice("reg", first=0.15, climb=Climb((1.5,), 4, 8), setting="als_reg"),), rows=300_000, by_ratings=True)
SEARCH_ITERATIONS = 6
ROUNDS = 8
USERS_AT_ONCE = 20_000


def fit(data: TrainingData) -> ModelArrays:
    settings, damping = data.settings, data.settings.bias_damping
    low, high = data.rating_scale

    def fitted(reg: float, of: TrainingData, n_iterations: int) -> tuple[ExplicitFactors, str]:
        mu, biases = alternating_biases(of)
        equations = Equations(None, reg, settings.als_factors, n_iterations, settings.seed)
        factors, engine = item_factors(of, lambda histories: errors_of(histories, mu, biases, damping), equations)
        sure = damped(of.n_ratings, of.n_ratings, damping).astype(np.float32)  # n / (n + damping)
        return ExplicitFactors(factors * sure[:, None], biases, mu, damping, low, high, reg), engine

    few = min(settings.als_iterations, SEARCH_ITERATIONS)
    values, _ = SEARCH.chosen(data, judge_of(data), lambda of, values: fitted(values["reg"], of, few)[0])
    factors, engine = fitted(values["reg"], data, settings.als_iterations)
    return ModelArrays(
        {"item_factors": factors.item_factors, "item_biases": factors.item_biases},
        {"mu": factors.mu, **values, "damping": damping, "low": low, "high": high, "engine": engine},
    )


def errors_of(histories: Histories, mu: float, biases: np.ndarray, damping: float) -> np.ndarray:
    """Return what explicit ALS is fitted to, (m,): the ratings less the mean, the items' biases and the users'."""
    return centred(histories.indptr, histories.items, histories.ratings, mu, biases, damping).errors


def alternating_biases(data: TrainingData) -> tuple[float, np.ndarray]:
    """The overall mean and the items' biases (n_items,) float64: damped means of ratings less mean and user's bias, and the
    users' less mean and item's, ROUNDS times in turn."""
    rows, damping, n = data.interactions, data.settings.bias_damping, data.n_ratings
    mu, biases = item_biases(data.rating_sum, n, damping)
    for _ in range(ROUNDS):
        left = np.zeros(len(n))
        for start in range(0, rows.n_users, USERS_AT_ONCE):
            block = rows.histories(start, min(start + USERS_AT_ONCE, rows.n_users))
            # of r - mu - b_u - b_i, with b_i added again, the item's bias is the damped mean
            left += np.bincount(block.items, errors_of(block, mu, biases, damping) + biases[block.items], len(n))
        biases = damped(left, n, damping)
    return mu, biases


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    return by_rating(rater(side), data.n_ratings)


def rater(side: ModelArrays) -> ExplicitFactors:
    named = {name: side.parameters[name] for name in ("mu", "reg", "damping", "low", "high")}
    return ExplicitFactors(**side.arrays, **named)
