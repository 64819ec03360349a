"""The tail of ease: items beside those that are solved densely, by ranges of items, as tasks that map what was laid out for all.

First the pairs of each tail item are counted and the strongest kept, then each is solved over its neighbourhood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.training import ease, local_ease
from jobs.kernels.training.cooccurrence import Columns
from jobs.kernels.training.local_ease import Arrays, Pairs
from jobs.kernels.weights import ItemWeights, stacked
from jobs.models.base.contract import TrainingData
from jobs.spark.task_pool import ONE_TASK, ranges, RANGES_A_WORKER
from schemas.models import EASE_PAIRS
from warehouse.atomic import save_array

PARTS = ("indptr", "indices", "data")


def with_tail(
    data: TrainingData, weights: ItemWeights, head: np.ndarray, tail: np.ndarray, values: Mapping[str, float], folder: Path
) -> ItemWeights:
    """Add the tail (t,) to the weights of the head (h,), with the hyper-parameters of the head.

    The folder has the gram and the precisions of the head, and takes what tasks map.
    """
    rows, n_neighbours, kept = data.interactions, data.settings.ease_neighbours, np.concatenate([head, tail])
    n_kept, n_head, keep = len(kept), len(head), EASE_PAIRS * n_neighbours
    n_ranges = 1 if len(rows) < ONE_TASK else RANGES_A_WORKER * data.run.n_workers
    counts = np.bincount(rows.items, minlength=rows.n_items)[kept].astype(np.float64)
    penalties = local_ease.penalties(counts, values["reg"], values["dropout"])

    def lay_out(_: int) -> None:
        columns = Columns.of(ease.kept_columns(rows.indptr, rows.items, kept, rows.n_items).astype(np.float64))
        _save(folder, "by_user", columns.X)
        _save(folder, "by_item", columns.by_item)
        save_array(folder / "n_pairs.npy", columns.n_pairs)

    def count(start: int, stop: int) -> Arrays:
        by_user, by_item = _matrix(folder, "by_user", n_kept), _matrix(folder, "by_item", rows.n_users)
        columns = Columns(by_user, by_item, np.sqrt(counts + penalties), _mapped(folder, "n_pairs"))
        return local_ease.strongest_pairs(columns, n_head + start, n_head + stop, keep)

    def solve(start: int, stop: int) -> Arrays:
        pairs = Pairs(_mapped(folder, "gram"), _matrix(folder, "pairs", n_kept), counts, penalties)
        return pairs.inverse(start, stop, n_neighbours)

    data.run.each(1, lay_out, label="ease: sorting by item")
    costs = _mapped(folder, "n_pairs")[n_head:] + keep
    bounds = ranges(np.append(0, np.cumsum(costs)), n_ranges)
    _save(folder, "pairs", _in_ranges(data, count, bounds, folder / "counted", label="ease: counting pairs of rare items"))
    bounds = ranges(np.arange(len(tail) + 1), n_ranges)
    inverse = _in_ranges(data, solve, bounds, folder / "solved", label="ease: solving rare items")
    precisions = np.asarray(_mapped(folder, "precisions"), np.float64)
    return local_ease.with_tail(weights, inverse, precisions, kept, counts, data.weights_keep, rarity_exponent=values["rarity_exponent"])


def _in_ranges(data: TrainingData, rows_of: Callable[[int, int], Arrays], bounds: list[int], folder: Path, *, label: str) -> ItemWeights:
    """Rows of all ranges, each range by a task."""

    def work(number: int) -> None:
        for part, array in zip(PARTS, rows_of(bounds[number], bounds[number + 1])):
            save_array(folder / f"{part}-{number}.npy", array)

    data.run.each(len(bounds) - 1, work, label=label)
    return stacked(tuple(np.load(folder / f"{part}-{number}.npy") for part in PARTS) for number in range(len(bounds) - 1))


def _save(folder: Path, name: str, matrix: csr_matrix | ItemWeights) -> None:
    for part in PARTS:
        save_array(folder / f"{name}_{part}.npy", getattr(matrix, part))


def _matrix(folder: Path, name: str, n_columns: int) -> csr_matrix:
    indptr, indices, values = (_mapped(folder, f"{name}_{part}") for part in PARTS)
    return csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, n_columns))


def _mapped(folder: Path, name: str) -> np.ndarray:
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
