"""transitions: what users turned to after an item, directed and discounted by the moments between."""

from __future__ import annotations

from jobs.kernels.transitions import transitions
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.weights import scorer, weights_side

NAME = "transitions"
__all__ = ["NAME", "CAPABILITIES", "fit", "scorer"]
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)


def fit(data: TrainingData) -> ItemSide:
    rows, settings = data.interactions, data.settings
    found = transitions(
        rows.indptr,
        rows.items,
        rows.steps,
        rows.n_items,
        settings.weights_keep,
        lags=settings.transitions_lags,
        discount=settings.transitions_discount,
    )
    return weights_side(found, data)
