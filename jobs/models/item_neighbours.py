"""item_neighbours: items by the cosine of who interacted with them."""

from __future__ import annotations

from jobs.kernels.cooccurrence import cosine
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.weights import scorer, weights_side

NAME = "item_neighbours"
__all__ = ["NAME", "CAPABILITIES", "fit", "scorer"]
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)


def fit(data: TrainingData) -> ItemSide:
    rows = data.interactions
    return weights_side(cosine(rows.indptr, rows.items, rows.strengths, rows.n_items, data.settings.weights_keep), data)
