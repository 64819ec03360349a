"""Which model is served: the one whose lists find most of what validation users did not show it."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs import item_side
from jobs.kernels import lists as kernel, metrics
from jobs.kernels.bootstrap import mean_interval
from jobs.kernels.item_side import ItemSide
from jobs.models.contract import TrainingData, Validation
from schemas.errors import StepError
from schemas.settings import AUTO, Settings
from warehouse.layout import Release
from warehouse.whole import save_array

RANKERS = ("item_neighbours", "transitions", "ease", "ials", "hybrid")  # the simplest first
PROTOCOL, K = "validation", 10


def rankers(release: Release, rows: list[dict[str, Any]], settings: Settings) -> list[str]:
    """The trained models that can be served, the simplest first. Raises StepError where there is none, or where one that is
    needed failed, with every reason."""
    by_name = {row["model"]: row for row in rows}
    needed = ["popular", *([settings.serve] if settings.serve != AUTO else []), *(["content"] if settings.diversity else [])]
    failed = [name for name in needed if by_name[name]["status"] != "trained"]
    found = [name for name in RANKERS if by_name.get(name, {}).get("status") == "trained"]
    if not found and not failed:
        failed = [name for name in RANKERS if name in by_name]
    if failed:
        reasons = "; ".join(f"{name} was not trained: {by_name[name]['message']}" for name in failed)
        raise StepError(f"train: release {release.id} cannot be made: {reasons}. The promoted release goes on")
    return found


def validated(release: Release, names: list[str], data: TrainingData) -> list[dict[str, Any]]:
    """Mean nDCG@10 of each model on the validation users, with its interval, as rows of `metrics`; none without such users."""
    validation = data.validation() if data.validation is not None else None
    if validation is None:
        return []
    folder, min_history = data.scratch / PROTOCOL, data.settings.min_history

    def measure(number: int) -> None:
        save_array(folder / f"{names[number]}.npy", _ndcg(item_side.load(release, names[number]), validation, min_history))

    data.run.each(len(names), measure, label=PROTOCOL)
    rows = []
    for name in names:
        mean, low, high, n = mean_interval(np.load(folder / f"{name}.npy"), seed=data.settings.seed)
        rows.append(
            {"model": name, "protocol": PROTOCOL, "metric": "ndcg", "k": K, "value": mean, "low": low, "high": high, "n_users": n}
        )
    return rows


def _ndcg(side: ItemSide, validation: Validation, min_history: int) -> np.ndarray:
    """Of the lists as they are served, (u,)."""
    kept, held = validation.kept, validation.held
    lists = kernel.recommend(side, kept, n=K, explain_n=0, reasons_n=0, min_history=min_history)
    return metrics.ndcg(metrics.hits(lists.indptr, lists.items, held.indptr, held.items, K, side.n_items), np.diff(held.indptr))


def served(names: list[str], scores: list[dict[str, Any]], settings: Settings) -> str:
    """The model that settings name, or the best on validation, ties to the simpler; where nobody was kept out to validate on,
    the last of `names`, which is made of the others."""
    if settings.serve != AUTO:
        return settings.serve
    value = {row["model"]: round(row["value"], 9) for row in scores}
    return max(names, key=lambda name: value[name]) if value else names[-1]
