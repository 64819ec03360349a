"""transitions: what users turned to after an item, directed and discounted by the moments between."""

from __future__ import annotations

from jobs.kernels.transitions import transitions
from jobs.kernels.weights import ItemWeights
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.scoring import by_weights
from jobs.models.tuning import best_half_life, half_life_of, judge_of
from jobs.models.weights import scorer, weights_side

NAME = "transitions"
__all__ = ["NAME", "CAPABILITIES", "fit", "scorer"]
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)
LAGS_TUNING = (3, 5, 20)


def fit(data: TrainingData) -> ItemSide:
    """With `tune` other numbers of lags than the setting's are tried, each discounted so that the last counts as much."""
    settings, judge = data.settings, judge_of(data)
    lags = data.chosen.get("lags", settings.transitions_lags)
    found = _fitted(data, lags)
    if judge is not None and data.tune:
        value = best_half_life(judge, lambda at: by_weights(found, at))[1]
        for tried in LAGS_TUNING:
            other = _fitted(data, tried)
            reached = best_half_life(judge, lambda at: by_weights(other, at))[1]
            if reached > value:
                lags, found, value = tried, other, reached
    return weights_side(found, half_life_of(data, judge, lambda at: by_weights(found, at)), lags=lags)


def _fitted(data: TrainingData, lags: int) -> ItemWeights:
    rows, settings = data.interactions, data.settings
    discount = settings.transitions_discount ** (settings.transitions_lags / lags)
    return transitions(
        rows.indptr, rows.items, rows.steps, rows.n_items, data.weights_keep, lags=lags, discount=discount
    )
