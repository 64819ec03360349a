"""bench topn: lists for all users from one ALS model, by our pass over parts, by Spark's own recommendForUserSubset and by
implicit's bare kernel.

All use the item factors of one MLlib model trained in this run. Ours folds each user in, leaves out what the user has and
writes Parquet; Spark's uses its user factors, leaves nothing out and is only counted; the bare kernel has user factors and
seen items as arrays in memory, uses every processor and keeps nothing. Each side runs once to warm up.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.kernels.histories import concatenated, Histories
from jobs.kernels.topn import FILTERED, top_n
from jobs.machine.progress import processors, Progress
from jobs.spark.session import spark_session
from jobs.spark.tasks import map_parts
from schemas.settings import Settings
from warehouse import parquet

FACTORS, HISTORY, ALPHA, REG = 64, 100, 2.0, 0.2
USERS_PER_PART, USERS_PER_BLOCK = 2_500, 1_000
SCHEMA = pa.schema({"user_id": pa.int64(), "rank": pa.int64(), "item_id": pa.int64(), "score": pa.float64()})


def measure(settings: Settings, *, users: int, items: int, n: int, repeats: int) -> dict[str, Any]:
    """Users a second of both sides, the median of `repeats`, and the ratio of the medians."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        with spark_session(settings, scratch=folder / "spark") as spark:
            _histories(folder, users, items, settings.seed)
            n_parts = -(-users // USERS_PER_PART)
            frame = spark.read.parquet(*map(str, parquet.parts(folder))).withColumnRenamed("user_id", "user_num")
            als = ALS(
                rank=FACTORS,
                maxIter=1,
                regParam=REG,
                alpha=ALPHA,
                implicitPrefs=True,
                seed=settings.seed,
                userCol="user_num",
                itemCol="item_id",
                ratingCol="weight",
            )
            model = als.fit(frame)
            _save_factors(model.itemFactors.toArrow(), folder, items)
            subset = frame.select("user_num").distinct().cache()
            subset.count()
            ours = lambda: _ours(spark, folder, n_parts, n)
            theirs = lambda: model.recommendForUserSubset(subset, n).selectExpr("sum(size(recommendations))").collect()
            bare = _bare(folder, n_parts, n)
            seconds = {}
            with Progress("bench topn", total=3 * (repeats + 1), unit="runs") as progress:
                for side, work in (("ours", ours), ("spark", theirs), ("implicit", bare)):
                    seconds[side] = [_timed(work, progress) for _ in range(repeats + 1)][1:]
    rates = {side: users / statistics.median(values) for side, values in seconds.items()}
    return {
        "n_users": users,
        "n_items": items,
        "n_factors": FACTORS,
        "n": n,
        "n_processors": processors(),
        "ours_users_per_s": round(rates["ours"], 1),
        "spark_users_per_s": round(rates["spark"], 1),
        "implicit_users_per_s": round(rates["implicit"], 1),
        "ours_to_spark_ratio": round(rates["ours"] / rates["spark"], 2),
        "implicit_to_ours_ratio": round(rates["implicit"] / rates["ours"], 2),
    }


def _timed(work, progress: Progress) -> float:
    started = time.perf_counter()
    work()
    progress.add(1)
    return time.perf_counter() - started


def _histories(folder: Path, users: int, items: int, seed: int) -> None:
    """Part files of users with about HISTORY items each, popular items more often."""
    rng = np.random.default_rng(seed)
    for number, start in enumerate(range(0, users, USERS_PER_PART)):
        stop = min(start + USERS_PER_PART, users)
        drawn = (items * rng.random((stop - start, HISTORY)) ** 2).astype(np.int64)
        pairs = np.unique(np.repeat(np.arange(start, stop), HISTORY) * items + drawn.ravel())
        rows = pa.table({"user_id": pairs // items, "item_id": pairs % items, "weight": np.ones(len(pairs))})
        parquet.write(parquet.part(folder, number), [rows], rows.schema)


def _save_factors(rows: pa.Table, folder: Path, items: int) -> None:
    factors = np.zeros((items, FACTORS), np.float32)
    features = rows["features"].combine_chunks()
    factors[rows["id"].to_numpy()] = features.flatten().to_numpy().reshape(len(features), -1)
    np.save(folder / "item_factors.npy", factors)
    np.save(folder / "gramian.npy", gramian(factors))


def _ours(spark: SparkSession, folder: Path, n_parts: int, n: int) -> None:
    def produce(number: int) -> pa.Table:
        side = _side(folder)
        whole, user_ids = _whole(parquet.read(parquet.part(folder, number)))
        blocks = (_lists(side, whole, user_ids, start, n) for start in range(0, len(user_ids), USERS_PER_BLOCK))
        n_rows = parquet.write(parquet.part(folder / "lists", number), blocks, SCHEMA)
        return pa.table({"n_rows": pa.array([n_rows], pa.int64())})

    map_parts(spark, n_parts, produce, "n_rows long").toArrow()


def _bare(folder: Path, n_parts: int, n: int) -> Callable[[], None]:
    """The kernel alone, on arrays that are there already."""
    side = _side(folder)
    blocks = [_whole(parquet.read(parquet.part(folder, number)))[0] for number in range(n_parts)]
    queries = np.array(
        [side.posterior(user.items, user.strengths).x for block in blocks for user in map(block.user, range(len(block)))], np.float32
    )
    whole = concatenated(blocks).matrix(len(side.item_factors))

    def run() -> None:
        for start in range(0, len(queries), USERS_PER_BLOCK):
            span = slice(start, start + USERS_PER_BLOCK)
            top_n(side.item_factors, queries[span], n, own=whole[span], n_threads=processors())

    return run


def _side(folder: Path) -> ImplicitFactors:
    return ImplicitFactors(np.load(folder / "item_factors.npy", mmap_mode="r"), np.load(folder / "gramian.npy"), ALPHA, REG)


def _whole(rows: pa.Table) -> tuple[Histories, np.ndarray]:
    """Histories of a part, and whose they are."""
    user_ids, indptr = np.unique(rows["user_id"].to_numpy(), return_index=True)
    items = rows["item_id"].to_numpy().astype(np.int32)
    weights = rows["weight"].to_numpy()
    nothing = np.zeros(len(rows))
    return Histories(np.append(indptr, len(rows)), items, weights, nothing, nothing.astype(np.int64)), user_ids


def _lists(side: ImplicitFactors, whole: Histories, user_ids: np.ndarray, start: int, n: int) -> pa.Table:
    stop = min(start + USERS_PER_BLOCK, len(user_ids))
    block = whole.block(start, stop)
    spans = [slice(*block.indptr[k : k + 2]) for k in range(len(block))]
    queries = np.array([side.posterior(block.items[span], block.strengths[span]).x for span in spans], np.float32)
    items, scores = top_n(side.item_factors, queries, n, own=block.matrix(len(side.item_factors)))
    kept = scores > FILTERED
    return pa.table(
        {
            "user_id": np.repeat(user_ids[start:stop], kept.sum(axis=1)),
            "rank": np.broadcast_to(np.arange(1, n + 1), items.shape)[kept],
            "item_id": items[kept].astype(np.int64),
            "score": scores[kept].astype(np.float64),
        }
    )
