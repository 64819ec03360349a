"""item_neighbours: items by who interacted with them: cosine, BM25 or adjusted cosine."""

from __future__ import annotations

from jobs.kernels import cooccurrence
from jobs.kernels.weights import ItemWeights
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.scoring import by_weights
from jobs.models.tuning import best_half_life, half_life_of, judge_of
from jobs.models.weights import scorer, weights_side

NAME = "item_neighbours"
__all__ = ["NAME", "CAPABILITIES", "fit", "scorer"]
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)


def fit(data: TrainingData) -> ItemSide:
    """The similarity of the setting; with `tune` the better of BM25 and cosine."""
    judge, similarity = judge_of(data), data.chosen.get("similarity", data.settings.neighbours_similarity)
    found = _fitted(data, similarity)
    if judge is not None and data.tune and similarity == "bm25":
        other = _fitted(data, "cosine")
        values = [best_half_life(judge, lambda at, tried=tried: by_weights(tried, at))[1] for tried in (found, other)]
        similarity, found = ("cosine", other) if values[1] > values[0] else (similarity, found)
    return weights_side(found, half_life_of(data, judge, lambda at: by_weights(found, at)), similarity=similarity)


def _fitted(data: TrainingData, similarity: str) -> ItemWeights:
    rows, keep = data.interactions, data.weights_keep
    if similarity == "adjusted_cosine":
        if data.rating_scale is None:
            raise ValueError("adjusted cosine compares ratings, and the source has none: use cosine or bm25")
        return cooccurrence.adjusted_cosine(rows.indptr, rows.items, rows.ratings, rows.n_items, keep)
    kernel = {"cosine": cooccurrence.cosine, "bm25": cooccurrence.bm25}[similarity]
    return kernel(rows.indptr, rows.items, rows.strengths, rows.n_items, keep)
