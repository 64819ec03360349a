"""The item side of every item-by-item model: its sparse matrix; and what scores by it."""

from __future__ import annotations

from jobs.kernels.weights import ItemWeights
from jobs.models.contract import ModelArrays, Scorer, TrainingData
from jobs.models.scoring import by_weights


def weights_side(found: ItemWeights, half_life: float, **parameters) -> ModelArrays:
    return ModelArrays({"indptr": found.indptr, "indices": found.indices, "data": found.data}, {"half_life": half_life, **parameters})


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    return by_weights(ItemWeights(**side.arrays), side.parameters["half_life"])
