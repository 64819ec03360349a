"""Small training data with tastes, in memory, for models to be fitted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories
from jobs.models import registry
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData, Validation
from jobs.models.base.scoring import by_part
from jobs.spark.task_pool import InProcess, Runner
from jobs.staging import interactions
from jobs.staging.interactions import Interactions
from schemas.models import RANKERS
from schemas.settings import resolve

LOW, HIGH = 0.5, 5.0


def histories(n_users: int, n_items: int, seed: int, *, n_groups: int = 3) -> Histories:
    """Users of a group have items of their group's share of the catalogue, in time; ratings on the half-star scale."""
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, n_groups, n_users)
    rows = []
    for user in range(n_users):
        odds = np.where(np.arange(n_items) % n_groups == groups[user], 8.0, 1.0) / (1 + np.arange(n_items)) ** 0.5
        n = int(draw.integers(5, 25))
        rows.append(np.sort(draw.choice(n_items, n, replace=False, p=odds / odds.sum())))
    items = np.concatenate(rows)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    users = np.repeat(np.arange(n_users), np.diff(indptr))
    liked = items % n_groups == groups[users]
    ratings = np.clip(np.round(2 * (2.5 + 1.5 * liked + draw.normal(0, 0.6, len(items)))) / 2, LOW, HIGH)
    moments = np.concatenate([draw.permutation(len(row)) for row in rows])
    return Histories(indptr, items.astype(np.int32), 0.25 + 0.75 * (ratings - LOW) / (HIGH - LOW), ratings, moments)


def split(n_items: int) -> tuple[Histories, Validation]:
    """300 users; the last fifth of each of the first 80 is kept out."""
    whole = histories(300, n_items, 4)
    lengths = np.diff(whole.indptr)
    user_of = np.repeat(np.arange(len(whole)), lengths)
    held = (whole.moments >= np.floor(0.8 * lengths[user_of])) & (user_of < 80)
    users = np.arange(80)
    return whole.select(~held), Validation(whole.select(~held).take(users), whole.select(held).take(users))


def training(
    folder: Path, rows: Histories, n_items: int, *, run: Runner | None = None, validation: Validation | None = None, **settings: Any
) -> TrainingData:
    interactions.write_part(folder / "interactions", 0, rows)
    for name in interactions.TYPES:
        interactions.join_parts(folder / "interactions", name, 1)
    items = pa.table(
        {
            "item_id": np.arange(n_items),
            "title": [f"Film {n % 7} of the {n % 5}" for n in range(n_items)],
            "genres": [f"G{n % 3}" for n in range(n_items)],
            "tags": [""] * n_items,
            "description": pa.nulls(n_items, pa.string()),
            "year": [None if n % 9 == 0 else 1960 + n % 50 for n in range(n_items)],
        }
    )
    genres = csr_matrix((np.ones(n_items, np.float32), (np.arange(n_items), np.arange(n_items) % 3)), shape=(n_items, 3))
    return TrainingData(
        interactions=Interactions.open(folder / "interactions", n_items),
        items=items,
        n_ratings=np.bincount(rows.items, minlength=n_items),
        rating_sum=np.bincount(rows.items, rows.ratings, n_items),
        genres=genres,
        rating_scale=(LOW, HIGH),
        settings=resolve(settings, {}, folder=folder),
        run=run or InProcess(),
        scratch=folder / "scratch",
        sides=folder / "model",
        validation=None if validation is None else lambda: validation,
    )


def scorer_of(name: str, side: ModelArrays, data: TrainingData) -> Scorer:
    """Score every item by a fitted model: by what orders its lists, if it can be served."""
    return by_part(registry.recommender_of(name, side, data, n=10).side.ranker) if name in RANKERS else registry.scorer_of(name, side, data)
