"""The item side of every item-by-item model: its sparse matrix; and what scores by it."""

from __future__ import annotations

from collections.abc import Callable

from jobs.kernels.rankers import WeightRanker
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, Scorer
from jobs.models.base.scoring import by_part


def weights_side(weights: ItemWeights, half_life: float, **parameters) -> ModelArrays:
    return ModelArrays({"indptr": weights.indptr, "indices": weights.indices, "data": weights.data}, {"half_life": half_life, **parameters})


def scorer_at(weights: ItemWeights) -> Callable[[float], Scorer]:
    """Return the scorer of a matrix at each half-life."""
    return lambda half_life: by_part(WeightRanker(weights, half_life))
