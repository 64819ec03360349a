"""The training data: the interactions that are not held out, and the users to choose hyper-parameters by."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from jobs.kernels.histories import concatenated
from jobs.models.base.contract import TrainingData, Validation
from jobs.spark.task_pool import OnSpark
from jobs.staging import interactions
from jobs.staging.file_locks import locked
from jobs.staging.histories import CUT, genre_matrix, read_part, TRAIN, VALIDATION
from jobs.staging.interactions import Interactions
from jobs.staging.record import Facts
from jobs.train.item_tables import genre_names
from schemas.settings import Settings
from warehouse import parquet
from warehouse.layout import Release

VALIDATION_USERS = 1_000


def training_data(release: Release, facts: Facts, settings: Settings, run: OnSpark) -> TrainingData:
    """The interactions that are not held out, written once as arrays by the parts; every model maps what it needs of them."""
    counts = np.load(release.work / "item_counts.npz")
    items = parquet.read(release.work / "items.parquet")
    folder = release.work / "interactions"
    with locked(release.work / "interactions.lock"):
        if not folder.exists():
            _write_interactions(folder, release, facts, run, has_counts=bool(parquet.parts(release.work / CUT)))
    return TrainingData(
        interactions=Interactions.open(folder, len(items)),
        items=items,
        n_ratings=counts["n_train"].astype(np.int64),
        rating_sum=counts["train_sum"],
        genres=genre_matrix(items, genre_names(release)),
        rating_scale=facts.rating_scale,
        settings=settings,
        run=run,
        scratch=release.work / "scratch",
        sides=release.models,
        validation=lambda: validation(release, facts),
    )


def _write_interactions(folder: Path, release: Release, facts: Facts, run: OnSpark, *, has_counts: bool) -> None:
    """Written aside and renamed, so that they are whole where they are."""
    aside, names = folder.with_name("interactions.tmp"), [*interactions.TYPES, *([interactions.COUNTS] if has_counts else [])]

    def write(number: int) -> None:
        part = read_part(release, number, facts)
        interactions.write_part(aside, number, part.cut.select(part.splits == TRAIN))

    def join(number: int) -> None:
        interactions.join_parts(aside, names[number], facts.n_parts)

    run.each(facts.n_parts, write, label="laying out interactions")
    run.each(len(names), join, label="joining interactions")
    shutil.rmtree(aside / "parts")
    os.replace(aside, folder)


def validation(release: Release, facts: Facts) -> Validation | None:
    """The first users whose held-out rows are there to choose hyper-parameters by; None if there is nobody."""
    blocks = []
    for number in range(facts.n_parts):
        blocks.append(read_part(release, number, facts).held_out(VALIDATION))
        if sum(len(kept) for kept, _ in blocks) >= VALIDATION_USERS:
            break
    kept, held = (concatenated([block[side] for block in blocks]) for side in (0, 1))
    return Validation(kept, held) if len(kept) else None
