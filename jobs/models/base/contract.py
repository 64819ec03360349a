"""Types that the files of models share: `fit` goes from TrainingData to ModelArrays, and `scorer` from these to a function of histories."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories
from jobs.kernels.weights import kept_a_row
from jobs.spark.task_pool import InProcess, Runner
from jobs.staging.interactions import Interactions
from schemas.errors import StepError
from schemas.settings import Settings


class CannotBe(ValueError):
    """Raised by `fit` where the data has nothing that the model is made of. That is no failure: the model is skipped."""


class Validation(NamedTuple):
    """Users to choose hyper-parameters by: the history that is left to them, and what was kept out of it. Nothing of it is in
    the training interactions' held-out rows that metrics are reported on. candidates (u, c): the items that are ranked for
    each of them, -1 where a row is shorter; None: all but those of the history."""

    kept: Histories
    held: Histories
    candidates: np.ndarray | None = None


@dataclass(frozen=True)
class TrainingData:
    """Interactions to train on, held-out rows already taken away, and the items they are of.

    Per item_num: n_ratings and rating_sum (n_items,), genres (n_items, n_genres). items is the items table without its
    counts. `run` does the work of models that divide it; `scratch` is a folder of the model's own; `sides` are the item
    sides of the models fitted before; `validation` reads the users to choose hyper-parameters by, where there are any.
    `chosen` are hyper-parameters that were chosen before, the parameters of an item side fitted to a part of these rows;
    where there are none a model chooses its own, from more of them with `tune`.
    """

    interactions: Interactions
    items: pa.Table
    n_ratings: np.ndarray
    rating_sum: np.ndarray
    genres: csr_matrix
    rating_scale: tuple[float, float] | None
    settings: Settings
    run: Runner
    scratch: Path
    sides: Path
    validation: Callable[[], Validation | None] | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    tune: bool = False

    @property
    def n_items(self) -> int:
        return len(self.n_ratings)

    @property
    def mean_rating(self) -> float:
        """Over all rows; NaN if the source has no ratings."""
        return math.nan if self.rating_scale is None else float(self.rating_sum.sum() / max(self.n_ratings.sum(), 1))

    @property
    def weights_keep(self) -> int:
        """Weights kept of each row of an item-by-item model: what was set, or by the number of items, so that a small
        catalogue is hardly pruned and a large one fits."""
        return self.settings.weights_keep or kept_a_row(self.n_items)

    def sampled(self, n_rows: int) -> TrainingData:
        """To search on: every n-th user where there are more rows than n_rows, all rows of each. So few are fitted faster here
        than in tasks, which each take a while to start."""
        every = -(-len(self.interactions) // n_rows)
        if every <= 1:
            return self.for_task()
        some = self.interactions.some(max(1, self.interactions.n_users // every))
        counts = np.bincount(some.items, minlength=self.n_items)
        sums = np.bincount(some.items, np.nan_to_num(some.ratings), self.n_items)
        rows = Interactions(some._asdict(), self.n_items)
        return replace(self, interactions=rows, n_ratings=counts, rating_sum=sums, run=InProcess())

    def for_task(self) -> TrainingData:
        """Return the data without what cannot leave this process."""
        return replace(self, run=InProcess())


class ModelArrays(NamedTuple):
    """All that is kept of a trained model: arrays by name, and constants for JSON. In the arrays of `unknown` NaN stands for what
    is not known; nowhere else may a value not be finite."""

    arrays: dict[str, np.ndarray]
    parameters: dict[str, Any]
    unknown: tuple[str, ...] = ()


def finite(side: ModelArrays) -> ModelArrays:
    """Return the arrays as they are. Raises StepError if training diverged, with how many values of what are not finite."""
    for name, array in side.arrays.items():
        n = 0 if name in side.unknown or array.dtype.kind != "f" else int((~np.isfinite(array)).sum())
        if n:
            raise StepError(
                f"training diverged: {n:,} of {array.size:,} values of {name} are not finite; change its hyper-parameters, for "
                "instance raise the regularisation"
            )
    return side


Scorer = Callable[[Histories], np.ndarray]
"""From histories to the scores of every item, (u, n_items) float32, -inf for an item that the model knows nothing about."""
