"""Measurements of each held-out user, and the rows of `metrics` that sum it up, with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.kernels.evaluation import list_metrics, metrics
from jobs.kernels.evaluation.bootstrap import Interval, mean_interval
from schemas.metrics import BY_HISTORY, deciding
from schemas.setting_groups import ALL, LIKED
from schemas.settings import Settings
from warehouse import parquet

PROTOCOL = "held_out_last"
RANKED_METRICS = (("ndcg", 10, metrics.ndcg), ("hit_rate", 10, metrics.hit_rate), ("recall", 20, metrics.recall))
RARE = "rare"
SUFFIXES = {ALL: "", LIKED: "_liked", RARE: "_rare"}  # which held-out rows count, as the names of metrics say it
DEPTH = max(k for _, k, _ in RANKED_METRICS)
TOP = 10
BELOW_MEAN = ("below_mean", "reasons_below_mean")  # of the first ten: what is predicted, and what stands as a reason
BY_STAR = ("hits_by_star", "held_out_by_star")  # of the first ten, and of all that was kept out
CHAMPION = "champion"  # no model has this name; in `metrics` it has no row, its figures are those of the verdict
BEFORE_RERANKING = "before_reranking"  # the served model, before diversity and calibration
OF_LISTS = ("intra_list_diversity", "miscalibration")  # what re-ranking is for; measured where there is any

SCORES = pa.schema(
    [
        pa.field("model", pa.string(), False),
        *(pa.field(f"{name}{suffix}_at_{k}", pa.float64()) for suffix in SUFFIXES.values() for name, k, _ in RANKED_METRICS),
        *(pa.field(name, pa.float64()) for name in BELOW_MEAN),
        *(pa.field(name, pa.list_(pa.int64())) for name in BY_STAR),
        pa.field("top", pa.list_(pa.int32(), TOP)),
        pa.field("squared_error", pa.float64()),
        pa.field("n_rated", pa.int64()),
        pa.field("n_kept", pa.int64()),
        pa.field("n_seen", pa.int64(), False),
        pa.field("is_short", pa.bool_(), False),
        pa.field("is_left_out", pa.bool_()),
        pa.field("overlap", pa.float64()),
        *(pa.field(name, pa.float64()) for name in OF_LISTS),
    ]
)


class UserScores(NamedTuple):
    """One row a model and held-out user, in the same order of users for every model."""

    rows: pa.Table
    n_items: int

    @classmethod
    def read(cls, folder: Path, *, n_items: int) -> UserScores:
        return cls(pa.concat_tables([SCORES.empty_table(), *map(parquet.read, parquet.parts(folder))]), n_items)

    @property
    def models(self) -> list[str]:
        return sorted(set(self.rows["model"].to_pylist()) - {CHAMPION, BEFORE_RERANKING})

    def of(self, model: str, column: str) -> np.ndarray:
        """A column of one model's users, (u,): NaN if there is nothing; (u, TOP) item_nums of `top`, (u, b) counts by star."""
        values = self.rows.filter(pc.equal(self.rows["model"], model))[column].combine_chunks()
        if column == "top":
            return values.drop_null().flatten().to_numpy().reshape(-1, TOP)
        if column in BY_STAR:
            return np.array(values.drop_null().to_pylist(), np.int64)
        return values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)

    def coverage(self, model: str) -> float:
        return list_metrics.catalogue_coverage(list_metrics.times_recommended(self.of(model, "top"), self.n_items))

    def gini(self, model: str) -> float:
        return list_metrics.gini(list_metrics.times_recommended(self.of(model, "top"), self.n_items))

    def rmse(self, model: str, *, seed: int) -> Interval:
        errors, n_rated = self.of(model, "squared_error"), np.nan_to_num(self.of(model, "n_rated"))
        return Interval(*np.sqrt(interval := mean_interval(errors, weights=n_rated, seed=seed))[:3], interval.n)


def rows_of(scored: UserScores, settings: Settings, *, served: str, rater: str, stars: np.ndarray) -> list[dict[str, Any]]:
    """Rows of `metrics`: of every model, and what is only asked of the one that is served. stars (b,): the least rating of each
    star, none without ratings."""
    rows, seed = [], settings.seed
    for model in scored.models:
        if len(scored.of(model, "top")):
            for suffix in (of for counted, of in SUFFIXES.items() if counted != LIKED or len(stars)):
                for name, k, _ in RANKED_METRICS:
                    interval = mean_interval(scored.of(model, f"{name}{suffix}_at_{k}"), seed=seed)
                    rows.append(_row(model, f"{name}{suffix}", k, interval))
            rows += _by_history(scored, model, deciding(settings.relevance, is_rated=len(stars) > 0), seed)
            rows.append(_row(model, "below_mean", TOP, mean_interval(scored.of(model, "below_mean"), seed=seed)))
            rows += _by_star(scored, model, stars)
            n = len(scored.of(model, "n_seen"))
            for name, value in (("coverage", scored.coverage(model)), ("gini", scored.gini(model))):
                rows.append(_total(model, name, TOP, value, n))
            if model != served and served in scored.models:
                rows.append(_over(scored, model, served, deciding(settings.relevance, is_rated=len(stars) > 0), seed))
    if rater in scored.models:
        rows.append(_row(rater, "rmse", 0, scored.rmse(rater, seed=seed)))
    if served in scored.models:
        for name, column in (("items_already_seen", "n_seen"), ("short_lists", "is_short")):
            values = scored.of(served, column)
            rows.append(_total(served, name, DEPTH, values.sum(), len(values)))
        overlap, reasons = scored.of(CHAMPION, "overlap"), scored.of(served, "reasons_below_mean")
        rows.append(_row(served, "overlap_with_champion", TOP, mean_interval(overlap, seed=seed)))
        rows.append(_row(served, "reasons_below_mean", TOP, mean_interval(reasons, seed=seed)))
        rows += _of_stars(scored, served, stars)
        rows += _cost_of_reranking(scored, served, seed)
    return [row for row in rows if row["value"] is not None]


def _by_history(scored: UserScores, model: str, metric: str, seed: int) -> list[dict[str, Any]]:
    """Rows of a metric for each third of the users by the length of their history; a length that ends a third belongs to the shorter one."""
    lengths, values = scored.of(model, "n_kept"), scored.of(model, f"{metric}_at_{TOP}")
    last = len(lengths) - 1
    third = np.searchsorted(np.sort(lengths)[[last // 3, 2 * last // 3]], lengths)
    return [_row(model, f"{metric}{name}", TOP, mean_interval(values[third == at], seed=seed)) for at, name in enumerate(BY_HISTORY)]


def _by_star(scored: UserScores, model: str, stars: np.ndarray) -> list[dict[str, Any]]:
    """Return the share of the held-out rows of each star that the first ten found, over all users; a list by chance finds as much of each."""
    if not len(stars):
        return []
    hits, held = (scored.of(model, name) for name in BY_STAR)
    shares = _shares(hits.sum(axis=0), held.sum(axis=0))
    return [_total(model, f"recall_rated_{star:g}", TOP, share, n) for star, share, n in zip(stars, shares, (held > 0).sum(axis=0))]


def _of_stars(scored: UserScores, served: str, stars: np.ndarray) -> list[dict[str, Any]]:
    """Return the share of the held-out rows that each star is."""
    if not len(stars):
        return []
    held = scored.of(served, "held_out_by_star")
    shares = _shares(held.sum(axis=0), held.sum())
    return [_total(served, f"held_out_rated_{star:g}", 0, share, len(held)) for star, share in zip(stars, shares)]


def _shares(some: np.ndarray, of_all: np.ndarray) -> np.ndarray:
    return some / np.where(of_all > 0, of_all, np.nan)


def _over(scored: UserScores, model: str, served: str, metric: str, seed: int) -> dict[str, Any]:
    """By how much a model is better than the served one for the same users; below 0 if it is worse."""
    values, of_served = (scored.of(name, f"{metric}_at_{TOP}") for name in (model, served))
    return _row(model, f"{metric}_over_served", TOP, mean_interval(values - of_served, seed=seed))


def _cost_of_reranking(scored: UserScores, served: str, seed: int) -> list[dict[str, Any]]:
    """Return what diversity and calibration gave, and what they cost in nDCG (positive: lost)."""
    if not len(scored.of(BEFORE_RERANKING, "n_seen")):
        return []
    before, after = (scored.of(model, "ndcg_at_10") for model in (BEFORE_RERANKING, served))
    rows = [_row(served, "ndcg_cost_of_finishing", TOP, mean_interval(before - after, seed=seed))]
    for name in OF_LISTS:
        for suffix, model in (("", served), ("_before_finishing", BEFORE_RERANKING)):
            rows.append(_row(served, f"{name}{suffix}", TOP, mean_interval(scored.of(model, name), seed=seed)))
    return rows


def _row(model: str, metric: str, k: int, interval: Interval) -> dict[str, Any]:
    return {
        "model": model,
        "protocol": PROTOCOL,
        "metric": metric,
        "k": k,
        **{name: none_if_nan(getattr(interval, part)) for name, part in (("value", "mean"), ("low", "low"), ("high", "high"))},
        "n_users": interval.n,
    }


def _total(model: str, metric: str, k: int, value: float, n_users: int) -> dict[str, Any]:
    """A figure of all users together, which has no interval."""
    return _row(model, metric, k, Interval(value, np.nan, np.nan, int(n_users)))


def none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
