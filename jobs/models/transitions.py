"""transitions: what users turned to after an item, directed and discounted by the moments between."""

from __future__ import annotations

from functools import cache

from jobs.kernels.training.transitions import transitions
from jobs.kernels.weights import ItemWeights
from jobs.models.contract import ModelArrays, TrainingData
from jobs.models.scoring import by_weights
from jobs.models.tuning import half_life_of, HALF_LIVES, judge_of, preset
from jobs.models.weights import scorer, weights_side

__all__ = ["fit", "scorer"]
LAST = 0.1  # what a transition over as many moments as count at most still counts
LAGS, LAGS_TUNING = (10, 30, 100), (3, 10, 30, 100, 300)
DAMPINGS, DAMPINGS_TUNING = (20.0, 5.0, 100.0), (20.0, 1.0, 5.0, 50.0, 100.0, 300.0)
DEFAULT_LAGS = 10
MOST_PAIRS = 500_000_000  # rows times lags that a fit may look at: a minute or so
SEARCH_ROWS = 300_000


def fit(data: TrainingData) -> ModelArrays:
    """Count transitions. How many moments count, and the damping, are chosen on validation users, one after the other, from a part of the rows."""
    judge, settings = judge_of(data), data.settings
    lags, damping = preset(data, "lags", settings.transitions_lags), preset(data, "damping", settings.transitions_damping)
    if judge is not None and (lags is None or damping is None):
        sample = data.sampled(SEARCH_ROWS)
        start = int(lags or DEFAULT_LAGS), damping or DAMPINGS[0]
        first = _fitted(sample, *start)
        # a memory of the last row alone, which may suit the first fit, would not show what more lags are worth
        half_life = max(half_life_of(data, judge, lambda at: by_weights(first, at)), min(HALF_LIVES))

        @cache
        def value(*tried) -> float:
            return judge.ndcg(by_weights(first if tried == start else _fitted(sample, *tried), half_life))

        if lags is None:
            lags = max(_affordable(data), key=lambda tried: value(tried, damping or DAMPINGS[0]))
        damping = damping or max(DAMPINGS_TUNING if data.tune else DAMPINGS, key=lambda tried: value(int(lags), tried))
    lags, damping = int(lags or DEFAULT_LAGS), damping or DAMPINGS[0]
    found = _fitted(data, lags, damping)
    return weights_side(found, half_life_of(data, judge, lambda at: by_weights(found, at)), lags=lags, damping=damping)


def _affordable(data: TrainingData) -> list[int]:
    """The numbers of lags to try; the fewest whatever they cost."""
    tried = LAGS_TUNING if data.tune else LAGS
    return [lags for lags in tried if lags == tried[0] or lags * len(data.interactions) <= MOST_PAIRS]


def _fitted(data: TrainingData, lags: int, damping: float) -> ItemWeights:
    rows = data.interactions
    return transitions(
        rows.indptr, rows.items, rows.moments, rows.n_items, data.weights_keep,
        lags=lags, discount=LAST ** (1 / lags), damping=damping,
    )  # fmt: skip
