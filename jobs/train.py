"""train: fit each model on the interactions that are not held out, and keep its item side; then the tables of items.

A model that fails fails alone: its row in `models` says why, and the release goes on without it as long as the served
model is there.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from jobs import interactions
from jobs.interactions import Interactions
from jobs.item_tables import genre_names, items_side, popular_table, similar_table
from jobs.kernels.histories import joined
from jobs.models.contract import TrainingData, Validation
from jobs.models.known import MODELS as KNOWN
from jobs.progress import PeakMemory
from jobs.ratings import genre_matrix, read_part, TRAIN, VALIDATION
from jobs.runner import OnSpark
from jobs.session import spark_session
from jobs.step import facts, Facts, Step
from schemas.derive import arrow_schema
from schemas.errors import SettingError, StepError, was_interrupted
from schemas.settings import Settings
from schemas.tables import MODELS
from warehouse import item_side, parquet
from warehouse.layout import Release

log = logging.getLogger("cinematch")

VALIDATION_USERS = 1_000


def train(running: Step) -> None:
    release, settings = running.release, running.settings
    found = facts(release)
    names = _chosen(settings)
    shutil.rmtree(release.models, ignore_errors=True)
    with spark_session(settings, scratch=running.scratch) as spark:
        data = training_data(release, found, settings, OnSpark(spark))
        items_side(release, data.items, data.genres)
        rows = [_fit(KNOWN[name], data, release) for name in KNOWN if name in names]
        _write_models(release, rows)
        by_name = {row["model"]: row for row in rows}
        for name in ("popular", settings.serve):
            if by_name[name]["status"] != "trained":
                raise StepError(
                    f"train: {name} is needed for the release and was not trained: {by_name[name]['message']}"
                )
        popular_table(release, found, settings)
        similar_table(release, found, settings, spark)
    running.figures |= {f"{row['model']}_train_s": row["train_s"] for row in rows}
    running.figures["n_models"] = sum(row["status"] == "trained" for row in rows)


def _chosen(settings: Settings) -> list[str]:
    names = settings.model_names()
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise SettingError(f"models: unknown {', '.join(unknown)}; expected some of {', '.join(KNOWN)}")
    missing = [name for name in ("popular", settings.serve) if name not in names]
    if missing:
        raise SettingError(
            f"models: {', '.join(missing)} must be among them: lists are ranked by {settings.serve} and fall back to popular"
        )
    return names


def training_data(release: Release, found: Facts, settings: Settings, run: OnSpark) -> TrainingData:
    """The interactions that are not held out, written once as arrays by the parts; every model maps what it needs of them."""
    counts = np.load(release.work / "item_counts.npz")
    items = parquet.read(release.work / "items.parquet")
    folder = release.work / "interactions"
    names = list(interactions.TYPES)

    def write(number: int) -> None:
        part = read_part(release, number, found)
        interactions.write_part(folder, number, part.histories.select(part.folds == TRAIN))

    def join(number: int) -> None:
        interactions.join_parts(folder, names[number], found.n_parts)

    run.each(found.n_parts, write, label="interactions")
    run.each(len(names), join, label="join interactions")
    shutil.rmtree(folder / "parts")
    return TrainingData(
        interactions=Interactions.open(folder, len(items)),
        items=items,
        n_ratings=counts["n_train"].astype(np.int64),
        rating_sum=counts["train_sum"],
        genres=genre_matrix(items, genre_names(release)),
        rating_scale=found.rating_scale,
        settings=settings,
        run=run,
        scratch=release.work / "scratch",
        sides=release.models,
        validation=lambda: validation(release, found),
    )


def validation(release: Release, found: Facts) -> Validation | None:
    """The first users whose held-out rows are there to choose hyper-parameters by; None where there is nobody."""
    blocks = []
    for number in range(found.n_parts):
        blocks.append(read_part(release, number, found).held_out(VALIDATION))
        if sum(len(kept) for kept, _ in blocks) >= VALIDATION_USERS:
            break
    kept, held = (joined([block[side] for block in blocks]) for side in (0, 1))
    return Validation(kept, held) if len(kept) else None


def _fit(model: ModuleType, data: TrainingData, release: Release) -> dict[str, Any]:
    """Train one model; returns its row of the models table, whatever became of it."""
    settings, capabilities = data.settings, model.CAPABILITIES
    row = {
        "model": model.NAME,
        "status": "trained",
        "message": "",
        "is_served": model.NAME == settings.serve,
        "predicts_rating": capabilities.predicts_rating,
        "folds_in": capabilities.folds_in,
        "attributes": capabilities.attributes,
        "needs_ratings": capabilities.needs_ratings,
        "parameters": _parameters(model, settings),
        "seed": settings.seed,
        "train_s": 0.0,
        "peak_mib": 0.0,
        "size_mib": 0.0,
    }
    if capabilities.needs_ratings and data.rating_scale is None:
        return row | {"status": "skipped", "message": "the source has no ratings"}
    started = time.monotonic()
    with PeakMemory() as peak:
        try:
            row["parameters"] = json.dumps(json.loads(row["parameters"]) | _saved(model, data), sort_keys=True)
            row["size_mib"] = round(item_side.size_mib(release.model(model.NAME)), 3)
        except Exception as error:
            # Whatever breaks one model must not take the release with it; the row and the log say so.
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            log.error("train: %s failed: %s", model.NAME, error)
            row |= {"status": "failed", "message": f"{type(error).__name__}: {error}".splitlines()[0][:500]}
    row |= {"train_s": round(time.monotonic() - started, 3), "peak_mib": round(peak.mib, 1)}
    log.info("train: %s %s in %.1f s", model.NAME, row["status"], row["train_s"])
    return row


def _saved(model: ModuleType, data: TrainingData) -> dict[str, Any]:
    """Fit a model and write its item side, in one task where it is one piece of work; returns its parameters."""
    folder = data.sides / model.NAME

    def fit(given: TrainingData) -> None:
        side = model.fit(given)
        item_side.save(folder, side.arrays, side.parameters)

    if model.CAPABILITIES.in_one_task:
        alone = data.for_task()
        data.run.each(1, lambda _: fit(alone), label=f"train {model.NAME}")
    else:
        fit(data)
    return item_side.load(folder)[1]


def _parameters(model: ModuleType, settings: Settings) -> str:
    prefix = f"{model.NAME}_"
    own = {
        k.removeprefix(prefix): v for k, v in settings.recorded().items() if k.startswith(prefix) and k != "popular_n"
    }
    return json.dumps(own, sort_keys=True)


def _write_models(release: Release, rows: list[dict[str, Any]]) -> None:
    schema = arrow_schema(MODELS, facts(release).ids)
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["model"]), schema=schema)
    parquet.write(release.table("models"), [table], schema)
