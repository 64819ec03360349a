"""The item side of every item-by-item model: its sparse matrix."""

from __future__ import annotations

from jobs.kernels.weights import ItemWeights
from jobs.models.contract import ItemSide, TrainingData


def weights_side(found: ItemWeights, data: TrainingData, **parameters) -> ItemSide:
    return ItemSide(
        {"indptr": found.indptr, "indices": found.indices, "data": found.data},
        {"half_life": data.settings.half_life, **parameters},
    )
