"""What was measured of each held-out user, and the rows of `metrics` that sum it up, with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.kernels import list_metrics, metrics
from jobs.kernels.bootstrap import Interval, mean_interval
from warehouse import parquet

PROTOCOL = "held_out_last"
RANKED_METRICS = (("ndcg", 10, metrics.ndcg), ("hit_rate", 10, metrics.hit_rate), ("recall", 20, metrics.recall))
DEPTH = max(k for _, k, _ in RANKED_METRICS)
TOP = 10
CHAMPION = "champion"  # no model has this name; in `metrics` it has no row, its figures are those of the verdict
UNFINISHED = "unfinished"  # the served model, before diversity and calibration
OF_LISTS = ("intra_list_diversity", "miscalibration")  # what finishing is for; measured where there is any

SCORES = pa.schema(
    [
        pa.field("model", pa.string(), False),
        *(pa.field(f"{name}_at_{k}", pa.float64()) for name, k, _ in RANKED_METRICS),
        pa.field("top", pa.list_(pa.int32(), TOP)),
        pa.field("squared_error", pa.float64()),
        pa.field("n_rated", pa.int64()),
        pa.field("n_seen", pa.int64(), False),
        pa.field("is_short", pa.bool_(), False),
        pa.field("is_left_out", pa.bool_()),
        pa.field("overlap", pa.float64()),
        *(pa.field(name, pa.float64()) for name in OF_LISTS),
    ]
)


class Scored(NamedTuple):
    """One row a model and held-out user, in the same order of users for every model."""

    rows: pa.Table
    n_items: int

    @classmethod
    def read(cls, folder: Path, *, n_items: int) -> Scored:
        return cls(pa.concat_tables([SCORES.empty_table(), *map(parquet.read, parquet.parts(folder))]), n_items)

    @property
    def models(self) -> list[str]:
        return sorted(set(self.rows["model"].to_pylist()) - {CHAMPION, UNFINISHED})

    def of(self, model: str, column: str) -> np.ndarray:
        """A column of one model's users, (u,): NaN where there is nothing, (u, TOP) item_nums where it is `top`."""
        found = self.rows.filter(pc.equal(self.rows["model"], model))[column].combine_chunks()
        if column == "top":
            return found.drop_null().flatten().to_numpy().reshape(-1, TOP)
        return found.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)

    def coverage(self, model: str) -> float:
        return list_metrics.catalogue_coverage(list_metrics.times_recommended(self.of(model, "top"), self.n_items))

    def gini(self, model: str) -> float:
        return list_metrics.gini(list_metrics.times_recommended(self.of(model, "top"), self.n_items))

    def rmse(self, model: str, *, seed: int) -> Interval:
        errors, n_rated = self.of(model, "squared_error"), np.nan_to_num(self.of(model, "n_rated"))
        return Interval(*np.sqrt(found := mean_interval(errors, weights=n_rated, seed=seed))[:3], found.n)


def rows_of(scored: Scored, *, served: str, rater: str, seed: int) -> list[dict[str, Any]]:
    """Rows of `metrics`: of every model, and what is only asked of the one that is served."""
    rows = []
    for model in scored.models:
        if len(scored.of(model, "top")):
            for name, k, _ in RANKED_METRICS:
                rows.append(_row(model, name, k, mean_interval(scored.of(model, f"{name}_at_{k}"), seed=seed)))
            n = len(scored.of(model, "n_seen"))
            for name, value in (("coverage", scored.coverage(model)), ("gini", scored.gini(model))):
                rows.append(_row(model, name, TOP, Interval(value, np.nan, np.nan, n)))
    if rater in scored.models:
        rows.append(_row(rater, "rmse", 0, scored.rmse(rater, seed=seed)))
    if served in scored.models:
        for name, column in (("items_already_seen", "n_seen"), ("short_lists", "is_short")):
            values = scored.of(served, column)
            rows.append(_row(served, name, DEPTH, Interval(values.sum(), np.nan, np.nan, len(values))))
        overlap = mean_interval(scored.of(CHAMPION, "overlap"), seed=seed)
        rows.append(_row(served, "overlap_with_champion", TOP, overlap))
        rows += _finishing(scored, served, seed)
    return [row for row in rows if row["value"] is not None]


def _finishing(scored: Scored, served: str, seed: int) -> list[dict[str, Any]]:
    """What diversity and calibration gave, and what they cost in nDCG (positive: lost)."""
    if not len(scored.of(UNFINISHED, "n_seen")):
        return []
    before, after = (scored.of(model, "ndcg_at_10") for model in (UNFINISHED, served))
    rows = [_row(served, "ndcg_cost_of_finishing", TOP, mean_interval(before - after, seed=seed))]
    for name in OF_LISTS:
        for suffix, model in (("", served), ("_before_finishing", UNFINISHED)):
            rows.append(_row(served, f"{name}{suffix}", TOP, mean_interval(scored.of(model, name), seed=seed)))
    return rows


def _row(model: str, metric: str, k: int, found: Interval) -> dict[str, Any]:
    return {
        "model": model,
        "protocol": PROTOCOL,
        "metric": metric,
        "k": k,
        **{name: none_if_nan(getattr(found, part)) for name, part in (("value", "mean"), ("low", "low"), ("high", "high"))},
        "n_users": found.n,
    }


def none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
