"""Choice of the served model: the one whose lists find most of what validation users liked of what they did not show it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jobs.kernels.evaluation import metrics
from jobs.kernels.evaluation.bootstrap import mean_interval
from jobs.kernels.histories import Histories
from jobs.kernels.lists import Lists
from jobs.kernels.relevance import is_liked, share_below
from jobs.models.base.contract import TrainingData
from jobs.models.base.judge import means_of, preferred, Tried
from jobs.staging.item_side import recommender
from jobs.train.validation_doubt import doubt
from schemas.errors import StepError
from schemas.models import RANKERS
from schemas.setting_groups import ALLOW, AUTO, OFF, ONLY
from schemas.settings import Settings
from warehouse.atomic import save_array
from warehouse.layout import Release

POPULAR = "popular"
PROTOCOL, K = "validation", 10
NDCG, NDCG_LIKED, BELOW = "ndcg", "ndcg_liked", "below_mean"


def rankers(release: Release, rows: list[dict[str, Any]], settings: Settings) -> list[str]:
    """The trained models that can be served, the simplest first. Raises StepError if there is none, or where one that is
    needed failed, with every reason."""
    by_name = {row["model"]: row for row in rows}
    needed = ["popular", *([settings.serve] if settings.serve != AUTO else []), *(["content"] if settings.diversity else [])]
    failed = [name for name in needed if by_name[name]["status"] != "trained"]
    trained = [name for name in RANKERS if by_name.get(name, {}).get("status") == "trained"]
    if not trained and not failed:
        failed = [name for name in RANKERS if name in by_name]
    if failed:
        reasons = "; ".join(f"{name} was not trained: {by_name[name]['message']}" for name in failed)
        raise StepError(f"train: release {release.id} cannot be made: {reasons}. The promoted release goes on")
    return trained


class Validated(NamedTuple):
    """The worth of models to the validation users: rows of `metrics`, with intervals; the values of each user by model, that of
    `popular` among them; and a sentence where they contradict sense. All empty without such users."""

    rows: list[dict[str, Any]]
    tried: dict[str, Tried]
    doubt: str


def validated(release: Release, names: list[str], data: TrainingData) -> Validated:
    """Measure nDCG@10 of each model's lists, and of those by popularity, on what is relevant to the validation users, and the share of
    the rows that are predicted below their mean."""
    validation = data.validation() if data.validation is not None else None
    if validation is None:
        return Validated([], {}, "")
    folder, settings, means = data.scratch / PROTOCOL, data.settings, means_of(data, validation.kept)
    n_items = data.n_items  # a task cannot have `data`, which has the session
    relevant, measured = {NDCG: validation.held}, [*names, POPULAR]
    if means is not None:
        relevant[NDCG_LIKED] = validation.held.select(is_liked(validation.held, means))

    def measure(number: int) -> None:
        lists = _lists(release, names[min(number, len(names) - 1)], measured[number], validation.kept, settings)
        values = [_ndcg(lists, held, n_items) for held in relevant.values()]
        if means is not None:
            values.append(share_below(lists.predicted, lists.owners, means))
        save_array(folder / f"{measured[number]}.npy", np.array(values))

    data.run.each(len(measured), measure, label=PROTOCOL)
    rows, tried, values_of = [], {}, {name: np.load(folder / f"{name}.npy") for name in measured}
    for name, values in values_of.items():
        for metric, of_users in zip((*relevant, BELOW), values):
            mean, low, high, n = mean_interval(of_users, seed=settings.seed)
            if np.isnan(mean):  # nothing predicts ratings
                continue
            rows.append(
                {"model": name, "protocol": PROTOCOL, "metric": metric, "k": K, "value": mean, "low": low, "high": high, "n_users": n}
            )
        below = np.zeros(len(validation.kept)) if means is None else np.nan_to_num(values[-1])
        tried[name] = Tried(values[len(relevant) - 1], below)
    n_held, n_own = np.diff(validation.held.indptr), np.diff(validation.kept.indptr)
    n_open = {OFF: n_items - n_own, ALLOW: np.full(len(n_own), n_items), ONLY: n_own}[settings.repeats]
    return Validated(
        rows, tried, doubt({name: values[0] for name, values in values_of.items()}, metrics.chance_ndcg(n_open, n_held, K), settings)
    )


def _lists(release: Release, served: str, name: str, kept: Histories, settings: Settings) -> Lists:
    """Lists as they are served, or by popularity alone."""
    of_release = recommender(release, served, settings.recorded(), None)
    return of_release.unpersonal().popular(kept, n=K, explain_n=0) if name == POPULAR else of_release.lists(kept, n=K, explain_n=0)


def _ndcg(lists: Lists, held: Histories, n_items: int) -> np.ndarray:
    """Of lists, (u,)."""
    return metrics.ndcg(metrics.hits(lists.indptr, lists.items, held.indptr, held.items, K, n_items), np.diff(held.indptr))


def served(names: list[str], tried: dict[str, Tried], settings: Settings) -> str:
    """The model that settings name, or the preferred on validation users, ties to the simpler. Where nobody was kept out to validate
    on, the last of `names`, which is made of the others."""
    if settings.serve != AUTO:
        return settings.serve
    return names[preferred([tried[name] for name in names])] if tried else names[-1]
