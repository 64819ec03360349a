"""item_neighbours: items by who interacted with them: cosine, BM25 or adjusted cosine.

The interactions are laid out by item beside those by user, as files that every task maps; a task finds the neighbours of one
range of items, of about as many pairs as any other.
"""

from __future__ import annotations

import shutil

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.training.cooccurrence import bm25_weights, Columns, over_mean
from jobs.kernels.weights import ItemWeights, stacked
from jobs.models.contract import ModelArrays, TrainingData
from jobs.models.scoring import by_weights
from jobs.models.tuning import best_half_life, half_life_of, judge_of
from jobs.models.weights import scorer, weights_side
from jobs.spark.task_pool import ONE_TASK, ranges, RANGES_A_WORKER
from jobs.staging.interactions import Interactions
from warehouse.atomic import save_array

NAME = "item_neighbours"
__all__ = ["fit", "scorer"]
PARTS = ("indptr", "indices", "data")


def fit(data: TrainingData) -> ModelArrays:
    """The similarity of the setting; with `tune` the better of BM25 and cosine."""
    judge, similarity = judge_of(data), data.chosen.get("similarity", data.settings.neighbours_similarity)
    found = _fitted(data, similarity)
    if judge is not None and data.tune and similarity == "bm25":
        other = _fitted(data, "cosine")
        values = [best_half_life(judge, lambda at, tried=tried: by_weights(tried, at))[1] for tried in (found, other)]
        similarity, found = ("cosine", other) if values[1] > values[0] else (similarity, found)
    return weights_side(found, half_life_of(data, judge, lambda at: by_weights(found, at)), similarity=similarity)


def _fitted(data: TrainingData, similarity: str) -> ItemWeights:
    rows, keep, folder = data.interactions, data.weights_keep, data.scratch / NAME
    if similarity == "adjusted_cosine" and data.rating_scale is None:
        raise ValueError("adjusted cosine compares ratings, and the source has none: use cosine or bm25")

    def lay_out(_: int) -> None:
        columns = Columns.of(rows.matrix(_values(rows, similarity)))
        arrays = {f"by_item_{name}": getattr(columns.by_item, name) for name in PARTS}
        arrays |= {"values": columns.X.data, "norms": columns.norms, "n_pairs": columns.n_pairs}
        for name, array in arrays.items():
            save_array(folder / f"{name}.npy", array)

    data.run.each(1, lay_out, label=f"{NAME}: sorting by item")
    n_pairs = np.load(folder / "n_pairs.npy")
    n_ranges = 1 if len(rows) < ONE_TASK else RANGES_A_WORKER * data.run.n_workers
    bounds = ranges(np.append(0, np.cumsum(n_pairs + keep)), n_ranges)

    def solve(number: int) -> None:
        def mapped(name: str) -> np.ndarray:
            return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

        by_item = csr_matrix(tuple(mapped(f"by_item_{name}") for name in reversed(PARTS)), shape=(rows.n_items, rows.n_users))
        columns = Columns(rows.matrix(mapped("values")), by_item, mapped("norms"), mapped("n_pairs"))
        found = columns.nearest(bounds[number], bounds[number + 1], keep)
        for name, array in zip(PARTS, found):
            save_array(folder / f"{name}-{number}.npy", array)

    data.run.each(len(bounds) - 1, solve, label=f"{NAME}: counting pairs, pruning")
    found = stacked(tuple(np.load(folder / f"{name}-{number}.npy") for name in PARTS) for number in range(len(bounds) - 1))
    shutil.rmtree(folder)
    return found


def _values(rows: Interactions, similarity: str) -> np.ndarray:
    """Return what each interaction counts, (m,) float64."""
    if similarity == "adjusted_cosine":
        return over_mean(rows.indptr, rows.ratings)
    if similarity == "bm25":
        return bm25_weights(rows.indptr, rows.items, rows.strengths, rows.n_items)
    return np.asarray(rows.strengths, np.float64)
