"""als by variational Bayes: the same however its rows are shared out, and nearer to planted tastes than ALS with the best regularisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.histories import Histories
from jobs.models import als
from jobs.models.base import alternating, variational
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import TrainingData
from jobs.models.base.variational import Averaged
from jobs.spark.task_pool import InProcess, OnSpark
from tests.jobs.models.worlds import histories, training

N_USERS, N_ITEMS, N_TASTES = 250, 120, 3
MODEL = Averaged(n_blocks=2, width=4, n_iterations=4, damping=5.0, seed=3)


def planted(seed: int) -> tuple[Histories, np.ndarray]:
    """Ratings by biases, three tastes and noise, of 6 to 40 items a user, and what each user would rate every item without noise."""
    draw = np.random.default_rng(seed)
    tastes, kinds = draw.normal(size=(N_USERS, N_TASTES)), draw.normal(size=(N_ITEMS, N_TASTES)) * 0.35
    whole = 3.0 + draw.normal(0, 0.4, (N_USERS, 1)) + draw.normal(0, 0.4, N_ITEMS) + tastes @ kinds.T
    rows = [np.sort(draw.choice(N_ITEMS, int(draw.integers(6, 41)), replace=False)) for _ in range(N_USERS)]
    indptr, items = np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(np.int32)
    ratings = whole[np.repeat(np.arange(N_USERS), np.diff(indptr)), items] + draw.normal(0, 0.6, len(items))
    return Histories(indptr, items, np.ones(len(items)), ratings, np.arange(len(items))), whole


def error(rater: ExplicitFactors, rows: Histories, whole: np.ndarray) -> float:
    """The root mean squared error of predictions of every item, without noise."""
    rater = replace(rater, low=-99, high=99)
    predicted = [rater.predict(rater.posterior(*rows.user(k).rated), np.arange(N_ITEMS)) for k in range(len(rows))]
    return float(np.sqrt(np.mean((np.array(predicted) - whole) ** 2)))


def by_als(data: TrainingData, reg: float, folder: Path) -> ExplicitFactors:
    mu, biases = als.alternating_biases(data)
    equations = Equations(None, reg, 8, 15, data.settings.seed)
    factors, _ = alternating.item_factors(data.interactions, lambda rows: als.errors_of(rows, mu, biases, 5.0), equations, data.run, folder)
    return ExplicitFactors(factors, biases, mu, 5.0, -99, 99, reg)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_tastes_are_found_better_than_by_als(tmp_path: Path, seed: int) -> None:
    rows, whole = planted(seed)
    data = training(tmp_path, rows, N_ITEMS, als_factors=16, als_iterations=15)
    ours = error(als.rater(als.fit(data)), rows, whole)
    theirs = min(error(by_als(data, reg, tmp_path / "als"), rows, whole) for reg in (0.05, 0.1, 0.15, 0.2, 0.3))
    assert ours < 0.95 * theirs


def test_tasks_give_what_one_process_gives_and_leave_nothing(spark, tmp_path: Path) -> None:
    data = training(tmp_path / "data", histories(300, 80, 1), 80)
    given = data.interactions, 3.0, np.zeros(80), MODEL
    alone = variational.fitted(*given, InProcess(), tmp_path / "a")
    shared = variational.fitted(*given, OnSpark(spark), tmp_path / "b")
    for ours, theirs in zip(alone, shared):
        np.testing.assert_array_equal(ours, theirs)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_what_few_rated_is_less_sure(tmp_path: Path) -> None:
    rows = histories(300, 80, 1)
    data, counts = training(tmp_path, rows, 80), np.bincount(rows.items, minlength=80)
    unsure = variational.item_moments(data, 3.0, np.zeros(80), MODEL).item_variances.mean(axis=1)
    assert np.corrcoef(np.log(counts[counts > 0]), np.log(unsure[counts > 0]))[0, 1] < -0.8


def test_factors_that_blocks_do_not_share_out_evenly_are_one_block(tmp_path: Path) -> None:
    for n_factors, blocks in ((64, 4), (24, 3), (7, 1)):
        parameters = als.fit(training(tmp_path / str(n_factors), histories(60, 30, 1), 30, als_factors=n_factors)).parameters
        assert (parameters["n_blocks"], parameters["n_blocks"] * parameters["width"]) == (blocks, n_factors)


def test_mllib_fits_als_with_the_regularisation_that_is_set(spark, tmp_path: Path) -> None:
    rows = histories(100, 30, 1)
    for reg, used in ((0.0, als.REG), (0.3, 0.3)):
        data = training(tmp_path / str(reg), rows, 30, run=OnSpark(spark), als_engine="mllib", als_factors=4, als_reg=reg)
        side = als.fit(data)
        assert (side.parameters["engine"], side.parameters["reg"]) == ("mllib", used)
        rater = als.rater(side)
        assert rater.item_variances is None and np.isfinite(rater.predict(rater.posterior(*rows.user(0).rated), np.arange(30))).all()
