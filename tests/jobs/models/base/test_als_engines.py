"""The two engines of ALS minimise the same objective, and one of them to the bit the same way each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.bench.als import objective_of
from jobs.models.als import errors_of
from jobs.models.base import als_engines
from jobs.models.base.alternating import Equations, item_factors
from jobs.spark.task_pool import InProcess, OnSpark
from schemas.errors import StepError
from tests.jobs.models.worlds import histories, training

N_USERS, N_ITEMS = 300, 80
ROWS = histories(N_USERS, N_ITEMS, 1)
IMPLICIT = Equations(alpha=2.0, reg=0.1, n_factors=8, n_iterations=12, seed=3)
EXPLICIT = Equations(alpha=None, reg=0.1, n_factors=8, n_iterations=12, seed=3)


def values(equations: Equations):
    if equations.alpha is not None:
        return lambda block: block.strengths
    biases = np.zeros(N_ITEMS)
    return lambda block: errors_of(block, 3.0, biases, 5.0)


@pytest.mark.parametrize("equations", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
def test_both_engines_reach_the_same_objective(spark, tmp_path: Path, equations: Equations) -> None:
    found = {}
    for engine in ("fold_in", "mllib"):
        data = training(tmp_path / engine, ROWS, N_ITEMS, run=OnSpark(spark), als_engine=engine)
        factors, used = als_engines.item_factors(data, values(equations), equations)
        assert used == engine and factors.shape == (N_ITEMS, equations.n_factors) and factors.dtype == np.float32
        found[engine] = objective_of(data.interactions, values(equations), factors, equations)
    assert found["fold_in"] == pytest.approx(found["mllib"], rel=0.01)


@pytest.mark.parametrize("equations", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
def test_tasks_give_the_factors_of_one_process(spark, tmp_path: Path, equations: Equations) -> None:
    data = training(tmp_path / "data", ROWS, N_ITEMS)
    alone, loss = item_factors(data.interactions, values(equations), equations, InProcess(), tmp_path / "a")
    shared, shared_loss = item_factors(data.interactions, values(equations), equations, OnSpark(spark), tmp_path / "b")
    np.testing.assert_array_equal(alone, shared)
    assert loss == pytest.approx(shared_loss) and not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


@pytest.mark.parametrize("equations", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
def test_training_lowers_the_training_loss(tmp_path: Path, equations: Equations) -> None:
    data = training(tmp_path / "data", ROWS, N_ITEMS)
    losses = [
        item_factors(data.interactions, values(equations), Equations(equations.alpha, equations.reg, 8, n, 3), InProcess(), tmp_path / "w")[
            1
        ]
        for n in (1, 2, 4, 8)
    ]
    assert losses == sorted(losses, reverse=True)


def test_the_engine_is_chosen_by_size(spark, tmp_path: Path) -> None:
    equations = Equations(2.0, 0.1, n_factors=64, n_iterations=1, seed=3)
    for n_users, engine in ((100, "fold_in"), (5_000, "mllib")):
        data = training(tmp_path / engine, histories(n_users, 30, 2), 30, run=OnSpark(spark), als_broadcast_mib=1)
        assert als_engines.item_factors(data, values(equations), equations)[1] == engine


def test_mllib_without_spark_is_refused(tmp_path: Path) -> None:
    data = training(tmp_path / "data", ROWS, N_ITEMS, als_engine="mllib")
    with pytest.raises(StepError, match="needs a Spark session; use fold_in"):
        als_engines.item_factors(data, values(IMPLICIT), IMPLICIT)
