"""als: factors and biases of ratings by variational Bayes, the mean of several small models; predicts ratings.

An item's factors have variances, which are larger the fewer rated it, and a user is folded in against both. The factors stand in blocks of
`width`, each a model of its own that started elsewhere: what they agree on is kept, what each made up is averaged away.

Where the factors are too large for every task to map them, or `als_engine` says so, Spark MLlib fits ALS instead, to ratings less the mean and the
biases of user and item. These biases are damped means of what the other side's biases leave, taken in turn until they settle; the user's is taken again
from the history whenever a rating is predicted. An item's factors are then damped like its bias, n / (n + damping) of what was solved:
the regularisation grows with the ratings of a row, so it alone would let one rating place an item as surely as a thousand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.kernels.biases import centred, damped, item_biases
from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.histories import Histories
from jobs.models.base.als_engines import engine_of, item_factors
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.scoring import by_rating
from jobs.models.base.search import Choice, preset, Search
from jobs.models.base.variational import Averaged, item_moments

WIDTHS, TUNED_WIDTHS = (16, 8), (16, 8, 32, 4)
SEARCH_ITERATIONS = 8
REG = 0.15  # of MLlib's ALS, where none is set
ROUNDS = 8
USERS_AT_ONCE = 20_000


def widths(data: TrainingData, _: Any) -> tuple[int, ...]:
    """Return the widths that share the factors out evenly; else one block has them all."""
    n_factors, tried = data.settings.als_factors, TUNED_WIDTHS if data.tune else WIDTHS
    return tuple(width for width in tried if n_factors % width == 0) or (n_factors,)


SEARCH = Search((Choice("width", first=lambda *given: widths(*given)[0], values=widths),), rows=300_000, by_ratings=True)


def fit(data: TrainingData) -> ModelArrays:
    if engine_of(data, data.settings.als_factors) == "mllib":
        return _by_mllib(data)
    few = min(data.settings.als_iterations, SEARCH_ITERATIONS)
    values, _ = SEARCH.chosen(data, judge_of(data), lambda of, values: rater(_averaged(of, values["width"], few)))
    return _averaged(data, values["width"], data.settings.als_iterations)


def _averaged(data: TrainingData, width: int, n_iterations: int) -> ModelArrays:
    settings, (low, high) = data.settings, data.rating_scale
    mu, biases = item_biases(data.rating_sum, data.n_ratings, settings.bias_damping)
    model = Averaged(settings.als_factors // width, width, n_iterations, settings.bias_damping, settings.seed)
    found = item_moments(data, mu, biases, model)
    constants = {"mu": mu, "width": width, "n_blocks": model.n_blocks, "damping": model.damping, "low": low, "high": high}
    return ModelArrays(found._asdict(), constants | {"engine": "fold_in"})


def _by_mllib(data: TrainingData) -> ModelArrays:
    settings, damping, (low, high) = data.settings, data.settings.bias_damping, data.rating_scale
    reg = preset(data, "reg", settings.als_reg) or REG
    mu, biases = alternating_biases(data)
    equations = Equations(None, reg, settings.als_factors, settings.als_iterations, settings.seed)
    factors, engine = item_factors(data, lambda histories: errors_of(histories, mu, biases, damping), equations)
    sure = damped(data.n_ratings, data.n_ratings, damping).astype(np.float32)  # n / (n + damping)
    return ModelArrays(
        {"item_factors": factors * sure[:, None], "item_biases": biases},
        {"mu": mu, "reg": reg, "damping": damping, "low": low, "high": high, "engine": engine},
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
    named = {name: side.parameters[name] for name in ("mu", "reg", "damping", "low", "high", "n_blocks") if name in side.parameters}
    return ExplicitFactors(**side.arrays, **named)
