"""One model of `bench accuracy`, in a process of its own: choose hyper-parameters, fit, score, measure.

`python -m jobs.bench.accuracy.model FOLDER MODEL` reads what the bench has laid out in the folder, and leaves there the item
sides of the model, its values a user as MODEL.npz and its figures as MODEL.json. What it is fitted to is made of the
training rows of the cut alone; the tested rows are opened after that.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, load_npz

from jobs.bench.accuracy.cuts import Cut
from jobs.bench.accuracy.data import Dataset
from jobs.bench.accuracy.figures import Items, of_liked, of_lists, of_ratings, over_cuts, RECALL_DEPTH, Values
from jobs.bench.accuracy.lists import lister, OWN_MOST_FREQUENT
from jobs.kernels.evaluation.protocols import Split
from jobs.kernels.histories import Histories
from jobs.kernels.relevance import damped_means
from jobs.machine.progress import PeakMemory
from jobs.models.base.contract import ModelArrays, TrainingData, Validation
from jobs.models.base.scoring import predicted, Rater
from jobs.models.registry import code_of, rater_of
from jobs.spark.task_pool import InProcess
from schemas.errors import was_interrupted
from schemas.models import MODELS, RATER
from schemas.settings import Settings
from warehouse import model_files

CELLS = 1 << 25  # scores held at a time: 128 MiB


class Bench:
    """The folder that the bench has laid out for the processes of the models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.settings = Settings(**plan["settings"])
        self.k, self.seed, self.tune, self.n_cuts = plan["k"], plan["seed"], plan["tune"], plan["n_cuts"]
        self.data = Dataset.open(folder / "data")

    def cut(self, number: int) -> Cut:
        return Cut.open(self.folder / f"cut-{number}")

    @property
    def features(self) -> csr_matrix | None:
        path = self.folder / "features.npz"
        return load_npz(path).tocsr() if path.exists() else None


def measured(bench: Bench, name: str) -> tuple[Values, dict[str, Any]]:
    """Values of a model over all cuts; seconds, and the hyper-parameters it was fitted with in the last cut."""
    parts, seconds = [], {"tune_s": 0.0, "fit_s": 0.0, "score_s": 0.0}
    for number in range(bench.n_cuts):
        cut, folder = bench.cut(number), bench.folder / f"cut-{number}"
        started = time.monotonic()
        tuned, side = _fit(name, _inner(bench, cut, folder / "inner"))
        seconds["tune_s"] += time.monotonic() - started
        data, started = tuned, time.monotonic()
        if not cut.is_same_training:
            outer = bench.data.training(cut.split.train, bench.settings, run=InProcess(), folder=folder / "outer")
            data, side = _fit(name, replace(outer, chosen=side.parameters))
        seconds["fit_s"] += time.monotonic() - started
        started = time.monotonic()
        parts.append(_values(bench, name, side, data, cut.split))
        seconds["score_s"] += time.monotonic() - started
    values = over_cuts(parts)
    return values, {key: round(value, 3) for key, value in seconds.items()} | {"parameters": dict(side.parameters)}


def _inner(bench: Bench, cut: Cut, folder: Path) -> TrainingData:
    """The training rows inside the training rows, with the users to choose hyper-parameters by where there are any."""
    split, run = cut.validation, InProcess()
    if len(split.users) == 0:
        return bench.data.training(split.train, bench.settings, run=run, folder=folder)
    kept, held = (bench.data.histories(mask).take(split.users) for mask in (split.history, split.test))
    validation = Validation(kept, held, split.candidates)
    return bench.data.training(split.train, bench.settings, run=run, folder=folder, validation=lambda: validation, tune=bench.tune)


def _fit(name: str, data: TrainingData) -> tuple[TrainingData, ModelArrays]:
    side = code_of("popular" if name == OWN_MOST_FREQUENT else name).fit(data)
    model_files.save(data.sides / name, side.arrays, side.parameters)
    return data, side


def _values(bench: Bench, name: str, side: ModelArrays, data: TrainingData, split: Split) -> Values:
    k = bench.k
    kept, held = (bench.data.histories(mask).take(split.users) for mask in (split.history, split.test))
    items = Items(bench.features, data.genres, data.n_ratings, int((np.diff(data.interactions.indptr) > 0).sum()))
    popular_lists = lister("popular", code_of("popular").fit(data), data, n=k)
    lists_of, blocks, times = lister(name, side, data, n=max(k, RECALL_DEPTH)), [], np.zeros(data.n_items, np.int64)
    of_lists_rater = _rater_of_lists(data)
    at_once = max(1, CELLS // bench.data.n_items)
    for start in range(0, len(kept), at_once):
        mine, kept_out = (rows.block(start, min(start + at_once, len(kept))) for rows in (kept, held))
        candidates = None if split.candidates is None else split.candidates[start : start + at_once]
        lists = lists_of(mine, kept_out, candidates)
        by_metric = of_lists(lists, mine, kept_out, popular_lists(mine, kept_out, None), items, k)
        if data.rating_scale is not None:
            means = damped_means(mine, data.mean_rating, bench.settings.bias_damping)
            by_metric |= of_liked(lists, kept_out, means, _predicted(of_lists_rater, mine, lists[:, :k]), items, k)
        blocks.append(by_metric)
        times += np.bincount(lists[:, :k][lists[:, :k] >= 0], minlength=data.n_items)
    rater = _rater(name, side, data)
    ratings = np.full(len(held.items), np.nan) if rater is None else predicted(rater, kept, held.indptr, held.items)
    return Values(
        split.users,
        {metric: np.concatenate([block[metric] for block in blocks]) for metric in blocks[0]},
        *of_ratings(ratings, held),
        times[None, :],
    )


def _rater_of_lists(data: TrainingData) -> Rater | None:
    """Return the rater of all lists; None if it was not fitted."""
    if not model_files.exists(data.sides / RATER):
        return None
    return rater_of(RATER, ModelArrays(*model_files.load(data.sides / RATER)))


def _predicted(rater: Rater | None, kept: Histories, lists: np.ndarray) -> np.ndarray:
    """Predicted ratings of lists (u, k); NaN in an empty place, and everywhere without a rater."""
    ratings, is_filled = np.full(lists.shape, np.nan), lists >= 0
    if rater is not None:
        indptr = np.concatenate([[0], np.cumsum(is_filled.sum(axis=1))])
        ratings[is_filled] = predicted(rater, kept, indptr, lists[is_filled])
    return ratings


def _rater(name: str, side: ModelArrays, data: TrainingData) -> Rater | None:
    """Return the rater: the model itself, or for what is served the rater that would stand beside it."""
    if name == OWN_MOST_FREQUENT:
        return None
    if MODELS[name].predicts_rating:
        return rater_of(name, side)
    return _rater_of_lists(data) if RATER in MODELS[name].parts else None


def main(folder: str, name: str) -> int:
    bench = Bench(Path(folder))
    with PeakMemory() as peak:
        try:
            values, figures = measured(bench, name)
        except Exception as error:
            # Whatever breaks one model must not take the others with it; its row says so.
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            message = f"{type(error).__name__}: {error}".splitlines()[0][:500]
            _write(bench.folder / f"{name}.json", {"status": "failed", "message": message})
            return 1
    np.savez(
        bench.folder / f"{name}.npz",
        **{f"per_user.{key}": of for key, of in values.per_user.items()},
        **{key: of for key, of in values._asdict().items() if key != "per_user"},
    )
    _write(bench.folder / f"{name}.json", {"status": "trained", "message": "", "peak_mib": round(peak.mib, 1), **figures})
    return 0


def _write(path: Path, outcome: dict[str, Any]) -> None:
    path.write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
