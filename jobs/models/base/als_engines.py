"""The two ways to fit ALS behind one setting: fold-in alternated over tasks, or Spark MLlib's own.

Both minimise the same objective, with lambda scaled by the entries of a row, and give item factors to fold users in against.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from jobs.kernels.histories import Histories
from jobs.models.base import alternating
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import TrainingData
from jobs.spark.task_pool import InProcess, ONE_TASK, OnSpark
from jobs.spark.tasks import map_parts
from schemas.errors import StepError
from warehouse.atomic import save_array

USERS_A_TASK = 20_000


def item_factors(data: TrainingData, value_of: Callable[[Histories], np.ndarray], equations: Equations) -> tuple[np.ndarray, str]:
    """Item factors (n_items, f) float32 and the name of the engine that found them. Items without interactions are zero."""
    engine = engine_of(data, equations.n_factors)
    if engine == "fold_in":
        factors = _fold_in(data, value_of, equations)
    else:
        factors = _mllib(data, value_of, equations)
    if not np.isfinite(factors).all():
        raise StepError(f"ALS diverged with {equations}: its factors are not finite; raise the regularisation")
    return factors, engine


def engine_of(data: TrainingData, n_factors: int) -> str:
    """Setting als_engine: `fold_in` where the factors of both sides fit into als_broadcast_mib, since every task maps the whole
    other side, else `mllib`; or the one that is named."""
    engine = data.settings.als_engine
    if engine != "auto":
        return engine
    mib = max(data.interactions.n_users, data.n_items) * n_factors * 4 / 2**20
    return "fold_in" if mib <= data.settings.als_broadcast_mib or not isinstance(data.run, OnSpark) else "mllib"


def _fold_in(data: TrainingData, value_of: Callable[[Histories], np.ndarray], equations: Equations) -> np.ndarray:
    interactions, folder = data.interactions, data.scratch
    if len(interactions) > ONE_TASK:
        return alternating.item_factors(interactions, value_of, equations, data.run, folder / "als")[0]

    def whole(_: int) -> None:
        factors, _ = alternating.item_factors(interactions, value_of, equations, InProcess(), folder / "als")
        save_array(folder / "factors.npy", factors)

    data.run.each(1, whole, label="als: users and items in turn")
    return np.load(folder / "factors.npy")


def _mllib(data: TrainingData, value_of: Callable[[Histories], np.ndarray], equations: Equations) -> np.ndarray:
    from pyspark.ml.recommendation import ALS

    if not isinstance(data.run, OnSpark):
        raise StepError("als_engine mllib needs a Spark session; use fold_in")
    interactions, n_users = data.interactions, data.interactions.n_users

    def rows(number: int) -> pa.Table:
        start, stop = number * USERS_A_TASK, min((number + 1) * USERS_A_TASK, n_users)
        block = interactions.histories(start, stop)
        users = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(block.indptr))
        return pa.table({"user_num": users, "item_num": pa.array(block.items), "value": value_of(block).astype(np.float32)})

    values = map_parts(data.run.spark, max(1, -(-n_users // USERS_A_TASK)), rows, "user_num int, item_num int, value float")
    data.run.spark.sparkContext.setCheckpointDir(str(data.scratch / "checkpoints"))  # or its lineage outgrows the stack
    als = ALS(
        userCol="user_num",
        itemCol="item_num",
        ratingCol="value",
        nonnegative=False,
        checkpointInterval=4,
        rank=equations.n_factors,
        maxIter=equations.n_iterations,
        regParam=equations.reg,
        seed=equations.seed,
        implicitPrefs=equations.alpha is not None,
        alpha=equations.alpha if equations.alpha is not None else 1.0,
    )
    items = als.fit(values).itemFactors.toArrow()
    factors = np.zeros((data.n_items, equations.n_factors), np.float32)
    features = items["features"].combine_chunks()
    factors[items["id"].to_numpy()] = features.flatten().to_numpy().reshape(len(features), -1)
    return factors
