"""The item side of every item-by-item model: its sparse matrix; and what scores by it."""

from __future__ import annotations

from collections.abc import Callable

from jobs.kernels.rankers import WeightRanker
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, Scorer
from jobs.models.base.scoring import by_part


def weights_side(found: ItemWeights, half_life: float, **parameters) -> ModelArrays:
    return ModelArrays({"indptr": found.indptr, "indices": found.indices, "data": found.data}, {"half_life": half_life, **parameters})


def scorer_at(found: ItemWeights) -> Callable[[float], Scorer]:
    """Return the scorer of a matrix at each half-life."""
    return lambda half_life: by_part(WeightRanker(found, half_life))
