"""hybrid: a weighted sum of the other models, its weights and half-life chosen on validation users.

Every part is linear in the history, so the sum is too: item-by-item parts become one matrix, ials stays a factor model
beside it, and a score still splits exactly over the history. Each part is first divided by the spread of its scores, so
that weights compare.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.factors import ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.metrics import hit_table, ndcg
from jobs.kernels.weights import combined, ItemWeights
from jobs.models import ials
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData, Validation
from jobs.models.scoring import by_factors, by_weights
from jobs.models.weights import weights_side
from warehouse import item_side

NAME = "hybrid"
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)
ITEM_BY_ITEM = ("ease", "item_neighbours", "transitions")
HALF_LIVES = (3.0, 5.0, 10.0, 20.0, 50.0, math.inf)
STEPS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
DEPTH = 10
CELLS = 1 << 26


def fit(data: TrainingData) -> ItemSide:
    """Coordinate search over the weights for each half-life, by nDCG@10; ties to the simpler blend, which comes first."""
    parts = _parts(data)
    if not parts:
        raise ValueError(f"nothing to blend: none of {', '.join((*ITEM_BY_ITEM, 'ials'))} was trained")
    validation = data.validation() if data.validation is not None else None
    half_life, weights, score = _chosen(parts, validation, data) if validation is not None else _unlearned(parts, data)
    matrices = {name: part for name, part in parts.items() if isinstance(part, ItemWeights)}
    whole = combined(
        [(weights[name], part) for name, part in matrices.items() if weights[name]],
        data.n_items,
        data.settings.weights_keep,
    )
    return weights_side(
        whole,
        data,
        half_life=min(half_life, 1e9),
        ials_weight=weights.get("ials", 0.0),
        validation_ndcg_at_10=score,
        n_validation_users=len(validation.kept) if validation is not None else 0,
        weights={name: round(w, 6) for name, w in weights.items()},
    )


def _parts(data: TrainingData) -> dict[str, ItemWeights | ImplicitFactors]:
    found: dict[str, ItemWeights | ImplicitFactors] = {}
    for name in ITEM_BY_ITEM:
        if item_side.exists(data.sides / name):
            found[name] = ItemWeights(**item_side.load(data.sides / name)[0])
    if item_side.exists(data.sides / "ials"):
        arrays, parameters = item_side.load(data.sides / "ials")
        found["ials"] = ImplicitFactors(**arrays, alpha=parameters["alpha"], reg=parameters["reg"])
    return found


def _unlearned(parts: dict, data: TrainingData) -> tuple[float, dict[str, float], float]:
    """Where nobody was kept out to learn from: the first part alone."""
    first = next(iter(parts))
    return data.settings.half_life, {name: float(name == first) for name in parts}, 0.0


def _chosen(parts: dict, validation: Validation, data: TrainingData) -> tuple[float, dict[str, float], float]:
    users = np.arange(min(len(validation.kept), max(1, CELLS // data.n_items // len(parts))))
    kept, held = validation.kept.take(users), validation.held.take(users)
    best = (-1.0, math.inf, {})
    for half_life in HALF_LIVES:
        scores = {name: dense_scores(part, kept, half_life) for name, part in parts.items()}
        spread = {name: float(np.mean(np.std(block, axis=1))) or 1.0 for name, block in scores.items()}
        for name, block in scores.items():
            block /= spread[name]
        found, weights = _searched(scores, kept, held, data.n_items)
        if found > best[0] + 1e-9:
            best = (found, half_life, {name: weights[name] / spread[name] for name in weights})
    return best[1], best[2], round(best[0], 6)


def _searched(
    scores: dict[str, np.ndarray], kept: Histories, held: Histories, n_items: int
) -> tuple[float, dict[str, float]]:
    """From the best part alone, one weight at a time, until none helps."""

    def value(weights: dict[str, float]) -> float:
        return ndcg_of(sum(w * scores[name] for name, w in weights.items() if w), kept, held, n_items)

    alone = {name: value({name: 1.0}) for name in scores}
    first = max(alone, key=lambda name: alone[name])
    weights, best = {name: float(name == first) for name in scores}, alone[first]
    for _ in range(3):
        before = best
        for name in scores:
            for step in STEPS:
                tried = weights | {name: step}
                if tried != weights and any(tried.values()) and (found := value(tried)) > best + 1e-9:
                    best, weights = found, tried
        if best == before:
            break
    return best, weights


def dense_scores(part: ItemWeights | ImplicitFactors, histories: Histories, half_life: float) -> np.ndarray:
    """Scores of every item for a block of users, (u, n_items) float32."""
    if isinstance(part, ImplicitFactors):
        ranker = replace(part, half_life=half_life)
        users = np.array([ranker.fold(histories.user(k)).posterior.x for k in range(len(histories))])
        return (users @ np.asarray(part.item_factors, np.float64).T).astype(np.float32)
    weights = np.concatenate(
        [histories.user(k).strengths * histories.user(k).recency(half_life) for k in range(len(histories))]
    )
    rows = csr_matrix(
        (weights.astype(np.float32), histories.items, histories.indptr), shape=(len(histories), part.n_items)
    )
    return np.asarray((rows @ part.rows(0, part.n_items)).todense(), np.float32)


def ndcg_of(scores: np.ndarray, kept: Histories, held: Histories, n_items: int) -> float:
    """Mean nDCG@10 of the lists that scores (u, n_items) give, without what the users have."""
    scores = scores.copy()
    scores[np.repeat(np.arange(len(kept)), np.diff(kept.indptr)), kept.items] = -np.inf
    k = min(DEPTH, n_items - 1)
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    lists = np.take_along_axis(top, order, axis=1)
    return float(np.nanmean(ndcg(hit_table(lists, held.indptr, held.items, n_items), np.diff(held.indptr))))


def scorer(side: ItemSide, data: TrainingData) -> Scorer:
    """The matrix, and ials beside it where it has a weight. An item is unknown where both parts know nothing of it."""
    share, half_life = side.parameters["ials_weight"], side.parameters["half_life"]
    matrix = by_weights(ItemWeights(**side.arrays), half_life)
    if not share:
        return matrix
    factors = by_factors(ials.factors_of(ItemSide(*item_side.load(data.sides / "ials"))), half_life)

    def scores(histories: Histories) -> np.ndarray:
        both = matrix(histories), factors(histories)
        unknown = np.isneginf(both[0]) & np.isneginf(both[1])
        summed = np.where(np.isneginf(both[0]), 0.0, both[0]) + share * np.where(np.isneginf(both[1]), 0.0, both[1])
        return np.where(unknown, -np.inf, summed).astype(np.float32)

    return scores
