"""hybrid: a weighted sum of the other models, its weights and half-life chosen on validation users.

Every part is linear in the history, so the sum is too: item-by-item parts become one matrix, ials stays a factor model
beside it, and a score still splits exactly over the history. Each part is first divided by the spread of its scores, so
that weights compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs.kernels.factors import ImplicitFactors
from jobs.kernels.weights import combined, ItemWeights
from jobs.models import ials
from jobs.models.blending import pooled, SAMPLE_USERS, searched, spreads_of
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.scoring import by_factors, by_weights
from jobs.models.tuning import DEFAULT_HALF_LIFE, FOREVER, HALF_LIVES, Judge, judge_of
from jobs.models.weights import weights_side
from warehouse import item_side

NAME = "hybrid"
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True, doing="learning the weights of its parts")
ITEM_BY_ITEM = ("ease", "item_neighbours", "transitions")
Part = ItemWeights | ImplicitFactors


def fit(data: TrainingData) -> ItemSide:
    """A search over the weights for each half-life, by nDCG@10; ties to the longer half-life and the simpler blend."""
    parts = parts_of(data)
    if not parts:
        raise ValueError(f"nothing to blend: none of {', '.join((*ITEM_BY_ITEM, ials.NAME))} was trained")
    judge = judge_of(data)
    if data.chosen:
        shares = {name: share for name, share in data.chosen["shares"].items() if name in parts}
        half_life, learned = data.chosen["half_life"], {key: data.chosen[key] for key in ("validation_ndcg_at_10", "n_validation_users")}
    elif judge is not None:
        half_life, shares, value = _searched(parts, judge, data)
        learned = {"validation_ndcg_at_10": round(value, 6), "n_validation_users": len(judge)}
    else:
        half_life, shares = data.settings.half_life or DEFAULT_HALF_LIFE, {name: float(name == next(iter(parts))) for name in parts}
        learned = {"validation_ndcg_at_10": 0.0, "n_validation_users": 0}
    return _side(data, parts, half_life, shares, learned)


def parts_of(data: TrainingData) -> dict[str, Part]:
    """The item sides that were fitted before, the item-by-item ones first."""
    found: dict[str, Part] = {}
    for name in ITEM_BY_ITEM:
        if item_side.exists(data.sides / name):
            found[name] = ItemWeights(**item_side.load(data.sides / name)[0])
    if item_side.exists(data.sides / ials.NAME):
        found[ials.NAME] = ials.factors_of(ItemSide(*item_side.load(data.sides / ials.NAME)))
    return found


def scorers(parts: Mapping[str, Part], half_life: float) -> dict[str, Scorer]:
    return {
        name: by_factors(part, half_life) if isinstance(part, ImplicitFactors) else by_weights(part, half_life)
        for name, part in parts.items()
    }


def _searched(parts: Mapping[str, Part], judge: Judge, data: TrainingData) -> tuple[float, dict[str, float], float]:
    best = (0.0, {}, -1.0)
    for half_life in [data.settings.half_life] if data.settings.half_life else reversed(HALF_LIVES):
        of = scorers(parts, half_life)
        shares, value = searched(pooled(of, spreads_of(of, data.interactions.some(SAMPLE_USERS)), judge))
        if value > best[2] + 1e-9:
            best = (min(half_life, FOREVER), shares, value)
    return best


def _side(data: TrainingData, parts: Mapping[str, Part], half_life: float, shares: dict[str, float], learned: dict[str, Any]) -> ItemSide:
    used = {name: share for name, share in shares.items() if share}
    spreads = spreads_of(scorers({name: parts[name] for name in used}, half_life), data.interactions.some(SAMPLE_USERS))
    weights = {name: shares[name] / spreads.get(name, 1.0) for name in shares}
    matrices = [(weights[name], parts[name]) for name in used if isinstance(parts[name], ItemWeights)]
    whole = combined(matrices, data.n_items, data.weights_keep)
    return weights_side(
        whole,
        half_life,
        ials_weight=weights.get(ials.NAME, 0.0),
        shares=shares,
        weights={name: float(np.round(weight, 6)) for name, weight in weights.items()},
        **learned,
    )


def scorer(side: ItemSide, data: TrainingData) -> Scorer:
    """The matrix, and ials beside it where it has a weight. An item is unknown where both parts know nothing of it."""
    share, half_life = side.parameters["ials_weight"], side.parameters["half_life"]
    matrix = by_weights(ItemWeights(**side.arrays), half_life)
    if not share:
        return matrix
    factors = by_factors(ials.factors_of(ItemSide(*item_side.load(data.sides / ials.NAME))), half_life)

    def scores(histories):
        found, beside = matrix(histories), factors(histories)
        is_unknown = np.isneginf(found) & np.isneginf(beside)
        found[np.isneginf(found)], beside[np.isneginf(beside)] = 0.0, 0.0
        found += np.float32(share) * beside
        found[is_unknown] = -np.inf
        return found

    return scores
