"""Folding a user's history into the trained item factors gives back the user factors that MLlib itself computed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.recommendation import ALS

from jobs.kernels.factors import ExplicitFactors, gramian, ImplicitFactors

N_USERS, N_ITEMS, N_FACTORS, REG, ALPHA, MU = 150, 90, 8, 0.1, 4.0, 3.5
TOLERANCE = 1e-5


@pytest.fixture
def ratings() -> pa.Table:
    """Some 3,000 ratings of users and items with tastes; users have from 1 to 40."""
    draw = np.random.default_rng(3)
    tastes, kinds = draw.normal(size=(N_USERS, 3)), draw.normal(size=(N_ITEMS, 3))
    rows = []
    for user in range(N_USERS):
        for item in draw.choice(N_ITEMS, int(draw.integers(1, 41)), replace=False):
            rating = np.clip(np.round(2 * (MU + tastes[user] @ kinds[item] / 2 + draw.normal(0, 0.5))) / 2, 0.5, 5)
            rows.append((user, int(item), float(rating)))
    users, items, values = zip(*rows)
    return pa.table(
        {"user_num": pa.array(users, pa.int32()), "item_num": pa.array(items, pa.int32()), "value": pa.array(values, pa.float32())}
    )


def trained(spark, table: pa.Table, **parameters) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Item factors (n_items, f), and MLlib's user factors by user."""
    als = ALS(userCol="user_num", itemCol="item_num", ratingCol="value", rank=N_FACTORS, maxIter=5, regParam=REG, seed=1, **parameters)
    model = als.fit(spark.createDataFrame(table))
    factors = np.zeros((N_ITEMS, N_FACTORS), np.float32)
    for row in model.itemFactors.toArrow().to_pylist():
        factors[row["id"]] = row["features"]
    return factors, {row["id"]: np.array(row["features"]) for row in model.userFactors.toArrow().to_pylist()}


def histories(table: pa.Table) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    users, items, values = (table[name].to_numpy() for name in ("user_num", "item_num", "value"))
    return {user: (items[users == user], values[users == user].astype(float)) for user in np.unique(users)}


def assert_same_users(folded: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> None:
    assert folded.keys() == theirs.keys()
    largest = max(np.abs(folded[user] - theirs[user]).max() / np.abs(theirs[user]).max() for user in theirs)
    assert largest < TOLERANCE


def test_implicit(spark, ratings: pa.Table) -> None:
    factors, theirs = trained(spark, ratings, implicitPrefs=True, alpha=ALPHA)
    ranker = ImplicitFactors(factors, gramian(factors), ALPHA, REG)
    assert_same_users({user: ranker.posterior(*history).x for user, history in histories(ratings).items()}, theirs)


def test_explicit_on_ratings_less_the_mean_and_the_biases(spark, ratings: pa.Table) -> None:
    biases, damping = np.random.default_rng(4).normal(0, 0.3, N_ITEMS), 5.0
    untrained = ExplicitFactors(np.zeros((N_ITEMS, 1), np.float32), biases, MU, damping, 0.5, 5.0, REG)
    users, items = ratings["user_num"].to_numpy(), ratings["item_num"].to_numpy()
    errors = np.zeros(len(ratings))
    for user, history in histories(ratings).items():
        errors[users == user] = untrained.posterior(*history).weights
    factors, theirs = trained(spark, pa.table({"user_num": users, "item_num": items, "value": pa.array(errors, pa.float32())}))
    rater = ExplicitFactors(factors, biases, MU, damping, 0.5, 5.0, REG)
    assert_same_users({user: rater.posterior(*history).x for user, history in histories(ratings).items()}, theirs)
