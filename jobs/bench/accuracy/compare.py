"""bench accuracy: how well models find what a protocol held out of a source, one row a model.

The source is read once and cut; each model is fitted and measured in a process of its own, one after another, so that its
seconds and its memory are its own. Hyper-parameters are chosen inside the training rows.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import save_npz

from jobs.bench.accuracy.cuts import cuts, Cutting, NEXT_BASKET
from jobs.bench.accuracy.data import Dataset, read
from jobs.bench.accuracy.figures import behind, figures, Values
from jobs.bench.accuracy.lists import OWN_MOST_FREQUENT
from jobs.bench.accuracy.published import opened
from jobs.ingest.step import TOLERANCE
from jobs.machine.progress import Progress
from jobs.models.content import features
from jobs.sources.open import open_source
from jobs.spark.session import ONE_THREAD
from schemas.errors import SettingError, StepError, UsageError
from schemas.models import MODELS, RATER
from schemas.setting_groups import ALL, ALLOW, OFF
from schemas.settings import Settings
from warehouse.layout import Warehouse

log = logging.getLogger("cinematch")

SHOWN = ("ndcg", "ndcg_liked", "ndcg_rare", "below_mean", "hit_rate", "recall", "map", "coverage")


def measure(settings: Settings, *, cutting: Cutting, models: str, k: int, tune: bool) -> list[dict[str, Any]]:
    """A row of figures for each model, the best nDCG first. Raises SettingError for a model nobody knows."""
    names = _names(models)
    if cutting.protocol == NEXT_BASKET:
        settings = replace(settings, repeats=ALLOW if settings.repeats == OFF else settings.repeats)
    elif settings.repeats != OFF:
        raise UsageError(f"repeats: {settings.repeats} means nothing to {cutting.protocol}; it belongs to {NEXT_BASKET}")
    latest = datetime.now(UTC) + TOLERANCE
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        if cutting.train and cutting.test:
            source, tested = opened(cutting.train, cutting.test, settings, folder=folder, latest=latest)
            data = read(source, settings, tested=tested)
        else:
            source = open_source(settings, raw=Warehouse(Path(settings.warehouse)).raw, latest=latest)
            data = read(source, settings, are_events=cutting.protocol == NEXT_BASKET)
        sizes = _lay_out(folder, data, settings, cutting, k, tune)
        if cutting.protocol == NEXT_BASKET:
            names.append(OWN_MOST_FREQUENT)
        outcomes = _all(folder, _needed(names, data), n_cuts=cutting.n_cuts)
        values = {name: _values(folder, name) for name in names if outcomes[name]["status"] == "trained"}
    common = {"source": source.name, **cutting.options(), "k": k, "seed": cutting.seed, "tuned": tune, **sizes}
    return _rows(names, outcomes, values, common, k=k, seed=cutting.seed)


def failures(rows: list[dict[str, Any]]) -> None:
    """Raises StepError, naming them, where models failed."""
    failed = [f"{row['model']} ({row['message']})" for row in rows if row["status"] == "failed"]
    if failed:
        raise StepError(f"bench accuracy: {len(failed)} of {len(rows)} models failed: {'; '.join(failed)}")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text for a reader: the interval of nDCG behind it, the rest as means."""
    k = rows[0]["k"]
    heads = ["model", f"ndcg@{k}", "95 % interval", *(f"{name}@{k}" for name in SHOWN[1:]), "rmse", "fit s", "peak MiB"]
    lines = [heads]
    for row in rows:
        if row["status"] != "trained":
            lines.append([row["model"], f"{row['status']}: {row['message']}"])
            continue
        ndcg = f"ndcg_at_{k}"
        interval = f"{_shown(row[f'{ndcg}_low'])} .. {_shown(row[f'{ndcg}_high'])}"
        cells = [_shown(row.get(f"{name}_at_{k}")) for name in SHOWN]
        cells[1:1] = [interval]
        lines.append([row["model"], *cells, _shown(row["rmse"]), f"{row['fit_s']:.1f}", f"{row['peak_mib']:,.0f}"])
    widths = [max(len(line[c]) for line in lines if len(line) == len(heads)) for c in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _names(models: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise SettingError(f"models: unknown {', '.join(unknown) or 'nothing'}; expected some of {', '.join(MODELS)}")
    return names


def _parts_of(name: str) -> tuple[str, ...]:
    return () if name == OWN_MOST_FREQUENT else MODELS[name].parts


def _needed(names: list[str], data: Dataset) -> dict[str, str]:
    """The models to fit, parts before what is made of them, and what predicts the ratings of lists before all; each with the reason
    why it cannot be, or ''."""
    parts = {part for name in names for part in _parts_of(name)}
    reasons = {}
    for name, model in MODELS.items():
        if name in names or name in parts:
            rates_nothing = model.needs_ratings and data.rating_scale is None
            reasons[name] = "the source has no ratings" if rates_nothing else ""
    if OWN_MOST_FREQUENT in names:
        reasons[OWN_MOST_FREQUENT] = ""
    return {name: reasons[name] for name in sorted(reasons, key=lambda name: name != RATER)}


def _lay_out(folder: Path, data: Dataset, settings: Settings, cutting: Cutting, k: int, tune: bool) -> dict[str, int]:
    """Write what every process reads; returns the sizes of the first cut."""
    data.save(folder / "data")
    try:
        save_npz(folder / "features.npz", features(data.items))
    except ValueError as error:
        log.info("bench accuracy: no diversity of content: %s", error)
    chosen_by = {"relevance": ALL}  # every tested row is relevant to these protocols, so hyper-parameters are chosen by all
    plan = {"settings": asdict(settings) | chosen_by, "k": k, "seed": cutting.seed, "tune": tune, "n_cuts": cutting.n_cuts}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    sizes = {}
    for number, cut in enumerate(cuts(cutting, data.rows, has_times=data.has_times, is_tested=data.is_tested)):
        cut.save(folder / f"cut-{number}")
        sizes = sizes or {
            "n_users": len(cut.split.users),
            "n_train": int(cut.split.train.sum()),
            "n_test": int(cut.split.test.sum()),
            "n_items": int(len(np.unique(data.rows.items[cut.split.train]))),
            "n_refused": data.n_refused,
        }
    return sizes


def _all(folder: Path, reasons: dict[str, str], *, n_cuts: int) -> dict[str, dict[str, Any]]:
    """Return the outcome of each model."""
    outcomes = {}
    with Progress("bench accuracy", total=len(reasons), unit="models") as progress:
        for name, reason in reasons.items():
            outcomes[name] = {"status": "skipped", "message": reason} if reason else _one(folder, name)
            progress.add(1)
    return outcomes


def _one(folder: Path, name: str) -> dict[str, Any]:
    log.info("bench accuracy: %s", name)
    command = [sys.executable, "-m", "jobs.bench.accuracy.model", str(folder), name]
    # It draws from files, so it writes nothing to standard output that is meant for anybody.
    process = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.DEVNULL, check=False)  # nosec B603  # no shell; our own module
    path = folder / f"{name}.json"
    if not path.exists():
        return {"status": "failed", "message": f"its process ended with status {process.returncode}, perhaps for want of memory"}
    return json.loads(path.read_text(encoding="utf-8"))


def _values(folder: Path, name: str) -> Values:
    with np.load(folder / f"{name}.npz") as arrays:
        per_user = {key.removeprefix("per_user."): arrays[key] for key in arrays if key.startswith("per_user.")}
        return Values(per_user=per_user, **{key: arrays[key] for key in arrays if not key.startswith("per_user.")})


def _rows(
    names: list[str], outcomes: dict[str, dict], values: dict[str, Values], common: dict[str, Any], *, k: int, seed: int
) -> list[dict[str, Any]]:
    measured = {name: figures(of, k=k, seed=seed) for name, of in values.items()}
    ndcg = f"ndcg_at_{k}"
    order = sorted(names, key=lambda name: -(measured.get(name, {}).get(ndcg) or -1.0))
    rows = []
    for name in order:
        row = {"model": name, **{key: outcomes[name].get(key) for key in ("status", "message")}, **common}
        if name in measured:
            row |= measured[name] | behind(values[name], values[order[0]], ndcg, seed=seed)
            row |= {key: outcomes[name][key] for key in ("tune_s", "fit_s", "score_s", "peak_mib")}
            parts = [outcomes[part] for part in _parts_of(name) if outcomes[part]["status"] == "trained"]
            row["fit_with_parts_s"] = round(row["fit_s"] + sum(part["fit_s"] for part in parts), 3)
            row |= {f"chosen_{key}": value for key, value in _flat(outcomes[name]["parameters"]).items()}
        rows.append(row)
    return rows


def _flat(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters without levels: weights of the parts of a blend by name."""
    flat = {}
    for key, value in parameters.items():
        if isinstance(value, dict):
            flat |= {f"{key}_{inner}": of for inner, of in value.items()}
        else:
            flat[key] = value
    return flat
