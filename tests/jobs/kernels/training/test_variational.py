"""Variational Bayes by halves against dense systems of bias and factors, one row and block at a time, and against fold-in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.training.variational import half, Moments

FLOAT32 = {"rtol": 5e-4, "atol": 5e-5}  # solves of small systems with condition numbers of some hundreds


class Problem(NamedTuple):
    rows: csr_matrix
    other: Moments
    ridge: np.ndarray
    noise: np.ndarray
    damping: float

    def solved(self, rows: csr_matrix, other: Moments | None = None, **options):
        given = {"ridge": self.ridge, "noise": self.noise, "damping": self.damping}
        return half(rows.indptr, rows.indices, rows.data, other or self.other, **given, **options)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to 10 rows and 12 columns, some without an entry; up to 3 blocks of up to 3 factors."""
    random = np.random.default_rng(draw(st.integers(0, 2**31 - 1), label="seed"))
    shape = draw(st.integers(1, 10), label="rows"), draw(st.integers(1, 12), label="columns")
    n_blocks, width = draw(st.integers(1, 3), label="blocks"), draw(st.integers(1, 3), label="width")
    has = random.random(shape) < draw(st.sampled_from([0.2, 0.5, 0.9]), label="density")
    drawn = lambda: random.normal(0, 0.7, (shape[1], n_blocks * width)).astype(np.float32)
    other = Moments(drawn(), 0.3 * drawn() ** 2, 0.05 * drawn(), random.normal(0, 0.5, shape[1]))
    noise = random.uniform(0.5, 1.0, n_blocks)
    return Problem(csr_matrix(has * random.normal(0, 1, shape)), other, random.uniform(0.5, 4, n_blocks * width), noise, 2.0)


def dense(problem: Problem, row: int, block: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The mean and the covariance of bias and factors of a row in one block, and the expected sum of its squared errors, entry by entry."""
    width = len(problem.ridge) // len(problem.noise)
    of_block, noise = slice(block * width, (block + 1) * width), problem.noise[block]
    entries = slice(*problem.rows.indptr[row : row + 2])
    columns, ratings = problem.rows.indices[entries], problem.rows.data[entries]
    prior = np.diag([problem.damping, *problem.ridge[of_block]])
    A, b, seen = prior.copy(), np.zeros(width + 1), []
    for j, rating in zip(columns, ratings):
        y, v, c = (array[j, of_block].astype(float) for array in problem.other[:3])
        z, error = np.array([1.0, *y]), rating - problem.other.biases[j]
        A += np.outer(z, z) + np.diag([0.0, *v])
        b += error * z - np.array([0.0, *c])
        seen.append((z, v, c, error))
    mean, covariance = np.linalg.solve(A, b), noise * np.linalg.inv(A)
    expected = 0.0
    for z, v, c, error in seen:
        expected += (error - mean @ z) ** 2 + z @ covariance @ z + v @ (mean[1:] ** 2 + np.diag(covariance)[1:]) + 2 * c @ mean[1:]
    return mean, covariance, expected


@given(problems())
def test_a_half_iteration_is_a_dense_solve_of_every_row_and_block(problem: Problem) -> None:
    moments, errors = problem.solved(problem.rows)
    n_blocks = len(problem.noise)
    for row, n in enumerate(np.diff(problem.rows.indptr)):
        if n == 0:
            assert not any(array[row].any() for array in moments) and not errors[row].any()
            continue
        means, covariances, expected = zip(*(dense(problem, row, block) for block in range(n_blocks)))
        assert_allclose(moments.factors[row], np.concatenate([mean[1:] for mean in means]), **FLOAT32)
        assert_allclose(moments.biases[row], np.mean([mean[0] for mean in means]), **FLOAT32)
        assert_allclose(moments.variances[row], np.concatenate([np.diag(one)[1:] for one in covariances]), **FLOAT32)
        assert_allclose(moments.covariances[row], np.concatenate([one[0, 1:] for one in covariances]), **FLOAT32)
        assert_allclose(errors[row], expected, **FLOAT32)


@given(problems())
def test_a_user_that_is_folded_in_is_the_mean_of_the_blocks_of_a_row(problem: Problem) -> None:
    other = problem.other._replace(covariances=np.zeros_like(problem.other.covariances))
    rows, n_blocks = problem.solved(problem.rows, other).moments, len(problem.noise)
    side = ExplicitFactors(
        other.factors, other.biases, 3.0, problem.damping, -99, 99,
        item_variances=other.variances, ridge=problem.ridge, n_blocks=n_blocks,
    )  # fmt: skip
    for row in np.flatnonzero(np.diff(problem.rows.indptr)):
        entries = slice(*problem.rows.indptr[row : row + 2])
        posterior = side.posterior(problem.rows.indices[entries], 3.0 + problem.rows.data[entries])
        assert_allclose(posterior.x, rows.factors[row] / n_blocks, **FLOAT32)
        assert_allclose(posterior.constant, 3.0 + rows.biases[row], **FLOAT32)


@given(problems(), st.integers(1, 4), st.integers(0, 10))
def test_a_row_in_pieces_is_the_row_and_does_not_depend_on_its_block(problem: Problem, piece: int, cut: int) -> None:
    whole, pieces = problem.solved(problem.rows), problem.solved(problem.rows, piece=piece)
    blocks = [problem.solved(block) for block in (problem.rows[:cut], problem.rows[cut:])]
    for name, array in whole.moments._asdict().items():
        assert_allclose(getattr(pieces.moments, name), array, **FLOAT32)
        np.testing.assert_array_equal(np.concatenate([getattr(block.moments, name) for block in blocks]), array)
    np.testing.assert_array_equal(np.concatenate([block.errors for block in blocks]), whole.errors)


def test_a_row_by_hand() -> None:
    other = Moments(np.array([[1], [-1]], np.float32), np.full((2, 1), 0.5, np.float32), np.zeros((2, 1), np.float32), np.zeros(2))
    one = half(np.array([0, 2]), np.array([0, 1]), np.array([3.0, 1.0]), other, ridge=np.ones(1), noise=np.ones(1), damping=0.0)
    assert (one.moments.factors.item(), one.moments.biases.item()) == (pytest.approx(0.5), pytest.approx(2.0))
    assert (one.moments.variances.item(), one.moments.covariances.item()) == (pytest.approx(0.25), pytest.approx(0.0))
    assert one.errors.item() == pytest.approx(2 * 0.25 + 2 * 0.5 + 2 * (0.25 * 0.5 + 0.25 + 0.25 * 0.5))
