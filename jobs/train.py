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
from pyspark.sql import SparkSession

from jobs.item_tables import genre_names, items_side, popular_table, similar_table
from jobs.models import als, content, ials, popular
from jobs.models.contract import TrainingData
from jobs.parts import each_part
from jobs.progress import PeakMemory
from jobs.ratings import genre_matrix, read_part
from jobs.session import spark_session, was_interrupted
from jobs.step import facts, Facts, Step
from schemas.derive import arrow_schema
from schemas.errors import SettingError, StepError
from schemas.settings import Settings
from schemas.tables import MODELS
from warehouse import item_side, parquet
from warehouse.layout import Release

log = logging.getLogger("cinematch")

KNOWN: dict[str, ModuleType] = {model.NAME: model for model in (popular, content, ials, als)}


def train(running: Step) -> None:
    release, settings = running.release, running.settings
    found = facts(release)
    names = _chosen(settings)
    shutil.rmtree(release.models, ignore_errors=True)
    with spark_session(settings, scratch=running.scratch) as spark:
        data = training_data(release, found, settings, spark)
        items_side(release, data.items, data.genres)
        rows = [_fit(KNOWN[name], data, release) for name in KNOWN if name in names]
        _write_models(release, rows)
        by_name = {row["model"]: row for row in rows}
        for name in ("popular", settings.serve):
            if by_name[name]["status"] != "trained":
                raise StepError(f"train: {name} is needed for the release and was not trained: {by_name[name]['message']}")
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
        raise SettingError(f"models: {', '.join(missing)} must be among them: lists are ranked by {settings.serve} and fall back to popular")
    return names


def training_data(release: Release, found: Facts, settings: Settings, spark: SparkSession) -> TrainingData:
    counts = np.load(release.work / "item_counts.npz")
    items = parquet.read(release.work / "items.parquet")
    first_user = np.cumsum([0] + [parquet.n_rows(parquet.part(release.work / "users", p)) for p in range(found.n_parts)])

    def values(of):
        def produce(number: int) -> pa.Table:
            part = read_part(release, number, found)
            user_num = np.repeat(np.arange(len(part.histories)), np.diff(part.histories.indptr)) + first_user[number]
            keep = ~part.is_held_out
            train = part.histories.select(keep)
            return pa.table({
                "user_num": pa.array(user_num[keep].astype(np.int32)), "item_num": pa.array(train.items),
                "value": pa.array(of(train).astype(np.float32)),
            })

        return each_part(spark, found.n_parts, produce, "user_num int, item_num int, value float")

    return TrainingData(
        values=values, items=items, n_ratings=counts["n_train"].astype(np.int64), rating_sum=counts["train_sum"],
        genres=genre_matrix(items, genre_names(release)), rating_scale=found.rating_scale, settings=settings,
    )


def _fit(model: ModuleType, data: TrainingData, release: Release) -> dict[str, Any]:
    """Train one model; returns its row of the models table, whatever became of it."""
    settings, capabilities = data.settings, model.CAPABILITIES
    row = {
        "model": model.NAME, "status": "trained", "message": "", "is_served": model.NAME == settings.serve,
        "predicts_rating": capabilities.predicts_rating, "folds_in": capabilities.folds_in,
        "attributes": capabilities.attributes, "needs_ratings": capabilities.needs_ratings,
        "parameters": _parameters(model, settings), "seed": settings.seed, "train_s": 0.0, "peak_mib": 0.0, "size_mib": 0.0,
    }
    if capabilities.needs_ratings and data.rating_scale is None:
        return row | {"status": "skipped", "message": "the source has no ratings"}
    started = time.monotonic()
    with PeakMemory() as peak:
        try:
            side = model.fit(data)
            item_side.save(release.model(model.NAME), side.arrays, side.parameters)
            row["parameters"] = json.dumps(json.loads(row["parameters"]) | side.parameters, sort_keys=True)
            row["size_mib"] = round(item_side.size_mib(release.model(model.NAME)), 3)
        except Exception as error:  # whatever breaks one model must not take the release with it; the row and the log say so
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            log.error("train: %s failed: %s", model.NAME, error)
            row |= {"status": "failed", "message": f"{type(error).__name__}: {error}".splitlines()[0][:500]}
    row |= {"train_s": round(time.monotonic() - started, 3), "peak_mib": round(peak.mib, 1)}
    log.info("train: %s %s in %.1f s", model.NAME, row["status"], row["train_s"])
    return row


def _parameters(model: ModuleType, settings: Settings) -> str:
    prefix = f"{model.NAME}_"
    own = {k.removeprefix(prefix): v for k, v in settings.recorded().items() if k.startswith(prefix) and k != "popular_n"}
    return json.dumps(own, sort_keys=True)


def _write_models(release: Release, rows: list[dict[str, Any]]) -> None:
    schema = arrow_schema(MODELS, facts(release).ids)
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["model"]), schema=schema)
    parquet.write(release.table("models"), [table], schema)
