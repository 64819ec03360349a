"""train: fit each model on the interactions that are not held out, and keep its item side; then the tables of items.

A model that fails fails alone: its row in `models` says why, and the release goes on with the best of the others, as long as
the one that `serve` names is there. Models may also be fitted one by one, as commands of their own and several at once; what they left is then
joined, and not fitted again.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import replace
from typing import Any

import pyarrow as pa

from jobs.machine import needs
from jobs.machine.needs import Counts, model_need
from jobs.machine.progress import PeakMemory
from jobs.models.base.contract import CannotBe, finite, TrainingData
from jobs.models.registry import code_of, ModelCode
from jobs.spark.session import spark_session
from jobs.spark.task_pool import OnSpark, reason_of
from jobs.staging.record import facts, part_name, record, Step
from jobs.train import model_selection
from jobs.train.item_tables import items_side, popular_table, similar_table
from jobs.train.requested_models import chosen_models
from jobs.train.training_data import training_data
from schemas.derive import arrow_schema
from schemas.errors import SettingError, StepError, was_interrupted
from schemas.models import Model, MODELS
from schemas.settings import FIELDS, Settings
from schemas.tables import TABLES
from warehouse import model_files, parquet
from warehouse.layout import Release

log = logging.getLogger("cinematch")


def train(running: Step) -> None:
    release, settings = running.release, running.settings
    facts_of_release = facts(release)
    names = chosen_models(settings)
    fitted = _fitted(release, settings, names)
    for folder in release.models.glob("*"):
        if fitted.get(folder.name, {}).get("status") != "trained":
            shutil.rmtree(folder)
    with spark_session(settings, scratch=running.scratch) as spark:
        data = training_data(release, facts_of_release, settings, OnSpark(spark))
        items_side(release, data.items, data.genres, settings)
        rows = [fitted.get(name) or _fit(model, code_of(name), data, release) for name, model in MODELS.items() if name in names]
        rankers = model_selection.rankers(release, rows, settings)
        scores, tried, doubt = model_selection.validated(release, rankers, data)
        served = model_selection.served(rankers, tried, settings)
        _write_models(release, [row | {"is_served": row["model"] == served} for row in rows])
        popular_table(release, facts_of_release, settings)
        started = time.monotonic()
        similar_table(release, facts_of_release, settings, spark)
        running.figures["similar_items_s"] = round(time.monotonic() - started, 3)
    running.figures |= {f"{row['model']}_train_s": row["train_s"] for row in rows}
    running.figures |= {f"{row['model']}_validation_{row['metric']}_at_{row['k']}": round(row["value"], 5) for row in scores}
    running.figures |= {"n_models": sum(row["status"] == "trained" for row in rows), "served_model": served}
    if doubt:
        log.warning("train: %s", doubt)
    running.figures["doubt"] = doubt
    running.facts |= {"served": served, "validation": scores}


def train_model(running: Step, name: str) -> None:
    """Fit one model and leave its row for `train`. Raises StepError if it failed; the row says so too, from the start in
    case that this process is killed."""
    release, settings = running.release, running.settings
    alone = [model.name for model in MODELS.values() if not model.parts]
    if name not in alone:
        raise SettingError(f"--model: {name!r} cannot be fitted by itself; expected one of {', '.join(alone)}")
    running.facts["row"] = _row(MODELS[name], settings) | {"status": "failed", "message": "its training did not end"}
    running.write_record()
    shutil.rmtree(release.model(name), ignore_errors=True)
    with spark_session(settings, scratch=running.scratch) as spark:
        row = _fit(MODELS[name], code_of(name), training_data(release, facts(release), settings, OnSpark(spark)), release)
    running.facts["row"] = row
    running.figures |= {key: row[key] for key in ("model", "status", "train_s", "size_mib")}
    if row["status"] == "failed":
        running.write_record()
        raise StepError(f"train: {name} failed: {row['message']}; the release goes on without it if it is not served")


def _fitted(release: Release, settings: Settings, names: list[str]) -> dict[str, dict[str, Any]]:
    """Rows of the models that were fitted one by one with the settings that hold now."""
    rows = {}
    for name in names:
        if release.step(part_name("train", name)).exists():
            left = record(release, part_name("train", name))
            row = left["facts"]["row"]
            is_whole = row["status"] != "trained" or model_files.exists(release.model(name))
            if is_whole and _deciding(left["settings"]) == _deciding(settings.recorded()):
                rows[name] = row
    return rows


def _deciding(recorded: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide how a model is fitted."""
    return {
        name: value for name, value in recorded.items() if "train" in FIELDS[name].metadata["commands"] and name not in ("models", "serve")
    }


def _row(model: Model, settings: Settings) -> dict[str, Any]:
    """The row of the models table of a model that is about to be trained."""
    return {
        "model": model.name,
        "status": "trained",
        "message": "",
        "is_served": False,
        "predicts_rating": model.predicts_rating,
        "folds_in": model.folds_in,
        "attributes": model.attributes,
        "needs_ratings": model.needs_ratings,
        "parameters": _parameters(model, settings),
        "seed": settings.seed,
        "train_s": 0.0,
        "peak_mib": 0.0,
        "size_mib": 0.0,
    }


def _fit(model: Model, code: ModelCode, data: TrainingData, release: Release) -> dict[str, Any]:
    """Train one model; returns its row of the models table, whatever became of it."""
    data = replace(data, scratch=data.scratch / model.name)
    row = _row(model, data.settings)
    if model.needs_ratings and data.rating_scale is None:
        return row | {"status": "skipped", "message": "the source has no ratings"}
    if model.needs_order and not data.interactions.has_order:
        return row | {"status": "skipped", "message": "no user has interactions of two different times"}
    started = time.monotonic()
    with PeakMemory() as peak:
        try:
            counts = Counts(len(data.interactions), data.interactions.n_users, data.n_items)
            needs.check(f"train {model.name}", model_need(model, counts, data.settings), data.settings, release.folder)
            row["parameters"] = json.dumps(json.loads(row["parameters"]) | _saved(model, code, data), sort_keys=True)
            row["size_mib"] = round(model_files.size_mib(release.model(model.name)), 3)
        except CannotBe as reason:
            row |= {"status": "skipped", "message": str(reason)}
        except Exception as error:
            # Whatever breaks one model must not take the release with it; the row and the log say so.
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            log.error("train: %s failed: %s", model.name, reason_of(error))
            log.debug("train: %s", model.name, exc_info=error)
            shutil.rmtree(release.model(model.name), ignore_errors=True)
            row |= {"status": "failed", "message": reason_of(error)[:500]}
    row |= {"train_s": round(time.monotonic() - started, 3), "peak_mib": round(peak.mib, 1)}
    log.info("train: %s %s in %.1f s", model.name, row["status"], row["train_s"])
    return row


def _saved(model: Model, code: ModelCode, data: TrainingData) -> dict[str, Any]:
    """Fit a model and write its item side, in one task where it is one piece of work; returns its parameters."""
    folder = data.sides / model.name

    def fit(given: TrainingData) -> None:
        side = finite(code.fit(given))
        model_files.save(folder, side.arrays, side.parameters)

    if model.doing:
        alone = data.for_task()
        data.run.each(1, lambda _: fit(alone), label=f"{model.name}: {model.doing}")
    else:
        fit(data)
    return model_files.load(folder)[1]


def _parameters(model: Model, settings: Settings) -> str:
    recorded = settings.recorded()
    return json.dumps({name.removeprefix(f"{model.name}_"): recorded[name] for name in model.settings}, sort_keys=True)


def _write_models(release: Release, rows: list[dict[str, Any]]) -> None:
    schema = arrow_schema(TABLES["models"], facts(release).ids)
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["model"]), schema=schema)
    parquet.write(release.table("models"), [table], schema)
