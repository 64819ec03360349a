"""Spark MLlib's ALS, run on (user_num, item_num, value) and reduced to its item factors."""

from __future__ import annotations

import numpy as np
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame

from schemas.errors import StepError


def item_factors(values: DataFrame, n_items: int, **parameters) -> np.ndarray:
    """(n_items, rank) float32; items without interactions are zero. `values` has user_num, item_num and value."""
    als = ALS(userCol="user_num", itemCol="item_num", ratingCol="value", nonnegative=False, checkpointInterval=-1, **parameters)
    found = als.fit(values).itemFactors.toArrow()
    factors = np.zeros((n_items, parameters["rank"]), np.float32)
    rows = found["features"].combine_chunks()
    factors[found["id"].to_numpy()] = rows.flatten().to_numpy().reshape(len(rows), -1)
    if not np.isfinite(factors).all():
        raise StepError(f"ALS diverged with {parameters}: its factors are not finite; raise the regularisation")
    return factors
