"""item_neighbours: items by who interacted with them: BM25, Turbo-CF, cosine or adjusted cosine.

Which of the first two is found on validation users, from a sample of users where there are many rows.
The interactions are laid out by item beside those by user, as files that every task maps; a task finds the neighbours of one
range of items, of about as many pairs as any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.training.cooccurrence import bm25_weights, Columns, over_mean, turbo_weights
from jobs.kernels.weights import ItemWeights, stacked
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, DEFAULT_HALF_LIFE, half_life_of, Search
from jobs.models.base.weights import scorer_at, weights_side
from jobs.spark.task_pool import ONE_TASK, ranges, RANGES_A_WORKER
from jobs.staging.interactions import Interactions
from schemas.setting_groups import AUTO
from warehouse.atomic import save_array

NAME = "item_neighbours"
PARTS = ("indptr", "indices", "data")
BM25, COSINE, TURBO_CF, ADJUSTED_COSINE = "bm25", "cosine", "turbo_cf", "adjusted_cosine"
BY_USER, POWERS = (0.6, 0.5), (0.7, 1.0)  # of Turbo-CF, the first where none is chosen


class Similarity(NamedTuple):
    """A way to find neighbours: its name, and a and p of Turbo-CF (`jobs.kernels.training.cooccurrence`)."""

    name: str
    by_user: float = 0.0
    power: float = 1.0

    @property
    def parameters(self) -> dict[str, Any]:
        """As it stands in an item side."""
        return {"similarity": self.name} | ({"by_user": self.by_user, "power": self.power} if self.name == TURBO_CF else {})


_TURBO_CF = tuple(Similarity(TURBO_CF, by_user, power) for by_user in BY_USER for power in POWERS)
SEARCH = Search(
    (
        Choice(
            "similarity",
            first=Similarity(BM25),
            values=(Similarity(BM25), *_TURBO_CF),
            tuning=(Similarity(BM25), Similarity(COSINE), *_TURBO_CF),
        ),
    ),
    rows=1_000_000,
    half_life=DEFAULT_HALF_LIFE,
)


def fit(data: TrainingData) -> ModelArrays:
    """The similarity of the setting, or the one that validation users prefer, ties to BM25; with `tune` cosine is looked at too."""
    judge, last = judge_of(data), {}

    def fitted(of: TrainingData, values: dict[str, Any]) -> Callable[[float], Scorer]:
        similarity = values["similarity"]
        product = similarity._replace(power=1.0)  # of which the powers that are tried follow one another
        if product not in last:
            last.clear()
            last[product] = _fitted(of, product)
        return scorer_at(_raised(last[product], similarity))

    values, _ = SEARCH.chosen(data, judge, fitted, known=_known(data))
    weights = _raised(_fitted(data, values["similarity"]), values["similarity"])
    return weights_side(weights, half_life_of(data, judge, scorer_at(weights)), **values["similarity"].parameters)


def _known(data: TrainingData) -> dict[str, Similarity]:
    """Return the similarity that was chosen before or that a setting names; nothing if it is to be searched for."""
    name = data.chosen.get("similarity", data.settings.neighbours_similarity)
    if name == AUTO:
        return {}
    if name != TURBO_CF:
        return {"similarity": Similarity(name)}
    return {"similarity": Similarity(name, data.chosen.get("by_user", BY_USER[0]), data.chosen.get("power", POWERS[0]))}


def _raised(weights: ItemWeights, similarity: Similarity) -> ItemWeights:
    """Each weight to the power, which keeps the order of a row."""
    return ItemWeights(weights.indptr, weights.indices, weights.data ** np.float32(similarity.power))


def _fitted(data: TrainingData, similarity: Similarity) -> ItemWeights:
    """The neighbours, by products that no power was taken of."""
    rows, keep, folder = data.interactions, data.weights_keep, data.scratch / NAME
    if similarity.name == ADJUSTED_COSINE and data.rating_scale is None:
        raise ValueError("adjusted cosine compares ratings, and the source has none: use one of the others")

    def lay_out(_: int) -> None:
        columns = Columns.of(rows.matrix(_values(rows, similarity)))
        arrays = {f"by_item_{name}": getattr(columns.by_item, name) for name in PARTS}
        arrays |= {"values": columns.X.data, "norms": columns.norms, "n_pairs": columns.n_pairs}
        for name, array in arrays.items():
            save_array(folder / f"{name}.npy", array)

    data.run.each(1, lay_out, label=f"{NAME}: sorting by item")
    is_normalized = similarity.name != TURBO_CF
    n_pairs = np.load(folder / "n_pairs.npy")
    n_ranges = 1 if len(rows) < ONE_TASK else RANGES_A_WORKER * data.run.n_workers
    bounds = ranges(np.append(0, np.cumsum(n_pairs + keep)), n_ranges)

    def solve(number: int) -> None:
        def mapped(name: str) -> np.ndarray:
            return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

        by_item = csr_matrix(tuple(mapped(f"by_item_{name}") for name in reversed(PARTS)), shape=(rows.n_items, rows.n_users))
        columns = Columns(rows.matrix(mapped("values")), by_item, mapped("norms"), mapped("n_pairs"))
        nearest = columns.nearest(bounds[number], bounds[number + 1], keep, is_normalized=is_normalized)
        for name, array in zip(PARTS, nearest):
            save_array(folder / f"{name}-{number}.npy", array)

    data.run.each(len(bounds) - 1, solve, label=f"{NAME}: counting pairs, pruning")
    weights = stacked(tuple(np.load(folder / f"{name}-{number}.npy") for name in PARTS) for number in range(len(bounds) - 1))
    shutil.rmtree(folder)
    return weights


def _values(rows: Interactions, similarity: Similarity) -> np.ndarray:
    """Return what each interaction counts, (m,) float64."""
    if similarity.name == ADJUSTED_COSINE:
        return over_mean(rows.indptr, rows.ratings)
    if similarity.name == TURBO_CF:
        return turbo_weights(rows.indptr, rows.items, rows.n_items, similarity.by_user)
    if similarity.name == BM25:
        return bm25_weights(rows.indptr, rows.items, rows.strengths, rows.n_items)
    return np.asarray(rows.strengths, np.float64)
