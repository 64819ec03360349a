"""evaluate: score the users whose last interactions were kept out of training, from the rest of their history.

Protocol `held_out_last`: for a sample of users, the last share of the history in time is kept out of training; their list
is computed from what is left, by the same function as every list, and compared with what was kept out. One training
serves evaluation and release.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs import item_side
from jobs.kernels import lists as kernel, metrics
from jobs.parts import collect, each_part
from jobs.ratings import read_part, TEST
from jobs.session import spark_session
from jobs.step import facts, Facts, Step
from schemas.derive import arrow_schema
from schemas.settings import Settings
from schemas.tables import METRICS
from warehouse import parquet
from warehouse.layout import Release

PROTOCOL = "held_out_last"
RANKED_METRICS = (("ndcg", 10, metrics.ndcg), ("hit_rate", 10, metrics.hit_rate), ("recall", 20, metrics.recall))
RANKERS = ("ials", "item_neighbours", "transitions", "ease", "hybrid")
DEPTH = max(k for _, k, _ in RANKED_METRICS)


def evaluate(running: Step) -> None:
    release, settings = running.release, running.settings
    found = facts(release)
    with spark_session(settings, scratch=running.scratch) as spark:
        produce = _Scorer(release, found, settings)
        frame = each_part(spark, found.n_parts, produce, "model string, metric string, k int, total double, n long")
        sums = collect(spark, frame, label="evaluate", n_tasks=found.n_parts)
    rows = _means(sums)
    schema = arrow_schema(METRICS, found.ids)
    parquet.write(release.table("metrics"), [pa.Table.from_pylist(rows, schema=schema)], schema)
    running.figures["n_held_out_users"] = max((row["n_users"] for row in rows), default=0)
    for row in rows:
        suffix = f"_at_{row['k']}" if row["k"] else ""
        running.figures[f"{row['model']}_{row['metric']}{suffix}"] = round(row["value"], 5)


class _Scorer:
    """Sums of every metric over the held-out users of one part, as a Spark task."""

    def __init__(self, release: Release, found: Facts, settings: Settings) -> None:
        self._release, self._facts, self._settings = release, found, settings
        self._rankers = ["popular", *(name for name in RANKERS if (release.model(name)).exists())]

    def __call__(self, number: int) -> pa.Table:
        part = read_part(self._release, number, self._facts)
        kept, held = part.held_out(TEST)
        side = item_side.load(self._release, self._settings.serve)
        rows = []
        for model in self._rankers:
            lists = (
                _popular(side, kept) if model == "popular" else self._ranked(item_side.load(self._release, model), kept)
            )
            hit = metrics.hits(lists.indptr, lists.items, held.indptr, held.items, DEPTH, side.n_items)
            for name, k, measure in RANKED_METRICS:
                rows.append((model, name, k, measure(hit[:, :k], np.diff(held.indptr)).sum(), len(held)))
        if side.rater is not None:
            rows.append(("als", "rmse", 0, _squared_error(side, kept, held), len(held.items)))
        columns = zip(*rows)
        return pa.table(
            [
                pa.array(column, kind)
                for column, kind in zip(columns, (pa.string(), pa.string(), pa.int32(), pa.float64(), pa.int64()))
            ],
            names=["model", "metric", "k", "total", "n"],
        )

    def _ranked(self, side: kernel.ItemSide, kept: kernel.Histories) -> kernel.Lists:
        return kernel.recommend(side, kept, n=DEPTH, explain_n=0, reasons_n=0, min_history=self._settings.min_history)


def _popular(side: kernel.ItemSide, kept: kernel.Histories) -> kernel.Lists:
    """Everybody's list by popularity alone, for comparison."""
    no_genres = replace(side, rater=None, genres=side.genres[:, :0])
    return kernel.recommend(no_genres, kept, n=DEPTH, explain_n=0, reasons_n=0, min_history=np.iinfo(np.int64).max)


def _squared_error(side: kernel.ItemSide, kept: kernel.Histories, held: kernel.Histories) -> float:
    total = 0.0
    for u in range(len(kept)):
        rows, held_rows = slice(*kept.indptr[u : u + 2]), slice(*held.indptr[u : u + 2])
        posterior = side.rater.fold_in(kept.items[rows], kept.ratings[rows])
        total += ((side.rater.predict(posterior, held.items[held_rows]) - held.ratings[held_rows]) ** 2).sum()
    return total


def _means(sums: pa.Table) -> list[dict]:
    """One row a model and metric; parts are added in a fixed order, so that the sums repeat."""
    grouped: dict[tuple, list[tuple[float, int]]] = {}
    for row in sums.sort_by([(name, "ascending") for name in sums.column_names]).to_pylist():
        grouped.setdefault((row["model"], row["metric"], row["k"]), []).append((row["total"], row["n"]))
    rows = []
    for (model, metric, k), parts in sorted(grouped.items()):
        n = sum(count for _, count in parts)
        if n:
            mean = sum(total for total, _ in parts) / n
            value = float(np.sqrt(mean)) if metric == "rmse" else mean
            rows.append({"model": model, "protocol": PROTOCOL, "metric": metric, "k": k, "value": value, "n_users": n})
    return rows
