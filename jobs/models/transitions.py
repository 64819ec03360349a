"""transitions: what users turned to after an item, directed and discounted by the moments between."""

from __future__ import annotations

from jobs.kernels.training.transitions import transitions
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, half_life_of, HALF_LIVES, Search, Values
from jobs.models.base.weights import scorer_at, weights_side

LAST = 0.1  # what a transition over as many moments as count at most still counts
LAGS, LAGS_TUNING = (10, 30, 100), (3, 10, 30, 100, 300)
MOST_PAIRS = 500_000_000  # rows times lags that a fit may look at: a minute or so


def _affordable(data: TrainingData, _: Values) -> list[int]:
    """The numbers of lags to try; the fewest whatever they cost."""
    tried = LAGS_TUNING if data.tune else LAGS
    return [lags for lags in tried if lags == tried[0] or lags * len(data.interactions) <= MOST_PAIRS]


SEARCH = Search(
    (
        Choice("lags", first=10, values=_affordable, setting="transitions_lags"),
        Choice(
            "damping",
            first=20.0,
            values=(20.0, 5.0, 100.0),
            tuning=(20.0, 1.0, 5.0, 50.0, 100.0, 300.0),
            setting="transitions_damping",
        ),
    ),
    rows=300_000,
    least_half_life=min(
        HALF_LIVES
    ),  # a memory of the last row alone, which may suit the first fit, would not show what more lags are worth
)


def fit(data: TrainingData) -> ModelArrays:
    """Count transitions. How many moments count, and the damping, are chosen on validation users, one after the other, from a part of the rows."""
    judge = judge_of(data)
    values, _ = SEARCH.chosen(data, judge, lambda of, values: scorer_at(_fitted(of, **values)))
    weights = _fitted(data, **values)
    return weights_side(weights, half_life_of(data, judge, scorer_at(weights)), **values)


def _fitted(data: TrainingData, lags: int, damping: float) -> ItemWeights:
    rows, lags = data.interactions, int(lags)
    return transitions(
        rows.indptr, rows.items, rows.moments, rows.n_items, data.weights_keep,
        lags=lags, discount=LAST ** (1 / lags), damping=damping,
    )  # fmt: skip
