"""What every model file offers: NAME, CAPABILITIES and `fit`, from training data to an item side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories
from schemas.settings import Settings


@dataclass(frozen=True)
class Capabilities:
    """What a model can do; declared, so that no other code has to ask for its name."""

    predicts_rating: bool = False
    folds_in: bool = False
    attributes: bool = False
    needs_ratings: bool = False


@dataclass(frozen=True)
class TrainingData:
    """Interactions to train on, held-out rows already taken away, and the items they are of.

    values(of) is a Spark DataFrame of user_num, item_num (int) and value (float), a row an interaction, where `of` gives the
    values (m,) of a block of whole histories; it runs on the executors. Per item_num: n_ratings and rating_sum (n_items,),
    genres (n_items, n_genres). items is the items table without its counts.
    """

    values: Callable[[Callable[[Histories], np.ndarray]], DataFrame]
    items: pa.Table
    n_ratings: np.ndarray
    rating_sum: np.ndarray
    genres: csr_matrix
    rating_scale: tuple[float, float] | None
    settings: Settings

    @property
    def n_items(self) -> int:
        return len(self.n_ratings)


class ItemSide(NamedTuple):
    """All that is kept of a trained model: arrays by name, and constants for JSON."""

    arrays: dict[str, np.ndarray]
    parameters: dict[str, Any]
