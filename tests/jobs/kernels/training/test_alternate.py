"""ALS by halves against fold-in, against dense solves, and against its own objective written out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.factors import ExplicitFactors, gramian, ImplicitFactors
from jobs.kernels.training.alternate import half_explicit, half_implicit, held, initial_factors
from tests.jobs.kernels import plain

FLOAT32 = {"rtol": 2e-4, "atol": 2e-5}  # solves of small systems with condition numbers of some hundreds


class Problem(NamedTuple):
    """Rows of entries (strengths or errors), the same by column, and the model."""

    by_row: csr_matrix
    by_column: csr_matrix
    n_factors: int
    alpha: float
    reg: float
    seed: int

    @property
    def other(self) -> np.ndarray:
        return initial_factors(np.diff(self.by_column.indptr), self.n_factors, seed=self.seed)

    def implicit(self, matrix: csr_matrix, other: np.ndarray, **options):
        return half_implicit(*parts(matrix), other, gramian(other), alpha=self.alpha, reg=self.reg, **options)


def parts(matrix: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr, matrix.indices, matrix.data


@st.composite
def problems(draw: st.DrawFn, *, is_signed: bool = False) -> Problem:
    """Up to 10 rows and 12 columns, some without an entry."""
    seed = draw(st.integers(0, 2**31 - 1), label="seed")
    random = np.random.default_rng(seed)
    shape = draw(st.integers(1, 10), label="rows"), draw(st.integers(1, 12), label="columns")
    has = random.random(shape) < draw(st.sampled_from([0.2, 0.5, 0.9]), label="density")
    values = random.normal(0, 1, shape) if is_signed else random.integers(1, 9, shape) / 8
    matrix = csr_matrix(has * values)
    return Problem(
        matrix,
        matrix.T.tocsr(),
        draw(st.integers(1, 5), label="factors"),
        draw(st.sampled_from([0.5, 4.0]), label="alpha"),
        draw(st.sampled_from([0.05, 0.5]), label="reg"),
        seed,
    )


def dense_implicit_objective(problem: Problem, X: np.ndarray, Y: np.ndarray) -> float:
    """Over every pair, one at a time."""
    S, X, Y = problem.by_row.toarray(), X.astype(float), Y.astype(float)
    total = 0.0
    for u in range(len(X)):
        for i in range(len(Y)):
            has = float(S[u, i] != 0)
            total += (1 + problem.alpha * S[u, i]) * (has - X[u] @ Y[i]) ** 2
    return total + dense_regulariser(problem, X, Y)


def dense_explicit_objective(problem: Problem, X: np.ndarray, Y: np.ndarray) -> float:
    E = problem.by_row.toarray()
    rows, columns = np.nonzero(E)
    total = sum((E[u, i] - X[u].astype(float) @ Y[i].astype(float)) ** 2 for u, i in zip(rows, columns))
    return total + dense_regulariser(problem, X.astype(float), Y.astype(float))


def dense_regulariser(problem: Problem, X: np.ndarray, Y: np.ndarray) -> float:
    has = problem.by_row.toarray() != 0
    rows = sum(has[u].sum() * X[u] @ X[u] for u in range(len(X)))
    return problem.reg * (rows + sum(has[:, i].sum() * Y[i] @ Y[i] for i in range(len(Y))))


@given(problems())
def test_an_implicit_half_iteration_is_every_row_folded_in(problem: Problem) -> None:
    Y = problem.other
    side = ImplicitFactors(Y, gramian(Y), problem.alpha, problem.reg)
    for row, x in enumerate(problem.implicit(problem.by_row, Y).factors):
        span = slice(*problem.by_row.indptr[row : row + 2])
        items, strengths = problem.by_row.indices[span], problem.by_row.data[span]
        if len(items) == 0:
            assert not x.any()
        else:
            assert_allclose(x, side.posterior(items, strengths).x, **FLOAT32)
            _, dense = plain.implicit_user(Y, list(items), list(strengths), problem.alpha, problem.reg)
            assert_allclose(x, dense, **FLOAT32)


@given(problems(is_signed=True))
def test_an_explicit_half_iteration_is_every_row_folded_in(problem: Problem) -> None:
    Y = problem.other
    # Without a mean, with biases of 0 and an endless damping, what fold-in fits is the errors themselves.
    side = ExplicitFactors(Y, np.zeros(len(Y)), 0.0, np.inf, -9.0, 9.0, problem.reg)
    for row, x in enumerate(half_explicit(*parts(problem.by_row), Y, reg=problem.reg).factors):
        span = slice(*problem.by_row.indptr[row : row + 2])
        assert_allclose(x, side.posterior(problem.by_row.indices[span], problem.by_row.data[span]).x, **FLOAT32)


@given(problems(), st.integers(1, 4))
def test_a_row_in_pieces_is_the_row(problem: Problem, piece: int) -> None:
    whole = problem.implicit(problem.by_row, problem.other)
    pieces = problem.implicit(problem.by_row, problem.other, piece=piece)
    assert_allclose(pieces.factors, whole.factors, **FLOAT32)
    assert_allclose(pieces.losses, whole.losses, **FLOAT32)


@given(problems(), st.integers(0, 10))
def test_rows_do_not_depend_on_their_block(problem: Problem, cut: int) -> None:
    whole = problem.implicit(problem.by_row, problem.other)
    blocks = [problem.implicit(block, problem.other) for block in (problem.by_row[:cut], problem.by_row[cut:])]
    assert (np.concatenate([block.factors for block in blocks]) == whole.factors).all()
    assert (np.concatenate([block.losses for block in blocks]) == whole.losses).all()


@given(problems())
def test_the_implicit_objective_is_the_sum_of_the_losses(problem: Problem) -> None:
    Y = problem.other
    half = problem.implicit(problem.by_row, Y)
    expected = dense_implicit_objective(problem, half.factors, Y)
    losses = half.losses.sum() + held(np.diff(problem.by_column.indptr), Y, problem.reg)
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(problems(is_signed=True))
def test_the_explicit_objective_is_the_sum_of_the_losses(problem: Problem) -> None:
    Y = problem.other
    half = half_explicit(*parts(problem.by_row), Y, reg=problem.reg)
    expected = dense_explicit_objective(problem, half.factors, Y)
    losses = half.losses.sum() + held(np.diff(problem.by_column.indptr), Y, problem.reg)
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(problems())
def test_training_lowers_the_implicit_objective(problem: Problem) -> None:
    Y, values = problem.other, []
    for _ in range(4):
        X = problem.implicit(problem.by_row, Y).factors
        values.append(dense_implicit_objective(problem, X, Y))
        Y = problem.implicit(problem.by_column, X).factors
        values.append(dense_implicit_objective(problem, X, Y))
    assert (np.diff(values) <= 1e-5 * values[0]).all()


@given(problems(is_signed=True))
def test_training_lowers_the_explicit_objective(problem: Problem) -> None:
    Y, values = problem.other, []
    for _ in range(4):
        X = half_explicit(*parts(problem.by_row), Y, reg=problem.reg).factors
        values.append(dense_explicit_objective(problem, X, Y))
        Y = half_explicit(*parts(problem.by_column), X, reg=problem.reg).factors
        values.append(dense_explicit_objective(problem, X, Y))
    assert (np.diff(values) <= 1e-5 * max(values[0], 1e-3)).all()


def test_a_row_by_hand() -> None:
    # Y = I, G = I, alpha 1, reg 0.5, one entry of strength 1: A = diag(1 + 1 + 0.5, 1 + 0.5), b = (2, 0).
    Y = np.eye(2, dtype=np.float32)
    one = np.array([0, 1]), np.array([0], np.int32), np.array([1.0])
    half = half_implicit(*one, Y, np.eye(2), alpha=1.0, reg=0.5)
    assert_allclose(half.factors, [[0.8, 0]], rtol=1e-6)
    assert_allclose(half.losses, [2 * (1 - 0.8) ** 2 + 0.5 * 0.8**2], rtol=1e-5)  # = 2 - 2 * 0.8
    half = half_explicit(np.array([0, 2]), np.array([0, 1], np.int32), np.array([3.0, -1.0]), Y, reg=0.5)
    assert_allclose(half.factors, [[1.5, -0.5]], rtol=1e-6)


def test_a_start_repeats_is_of_length_one_and_is_zero_where_there_is_nothing() -> None:
    counts = np.array([3, 0, 1] * 200)
    factors = initial_factors(counts, 64, seed=5)
    assert (factors == initial_factors(counts, 64, seed=5)).all() and not (factors == initial_factors(counts, 64, seed=6)).all()
    assert factors.dtype == np.float32 and factors.shape == (600, 64)
    assert not factors[1::3].any()
    assert np.linalg.norm(factors[0::3], axis=1).mean() == pytest.approx(1, abs=0.05)
    assert (initial_factors(np.ones(600), 64, seed=5)[0::3] == factors[0::3]).all()


def test_a_checkerboard_is_learned() -> None:
    """Even users have even items, odd users odd ones, each without one of them: that one scores highest of
    the rest."""
    has = (np.add.outer(np.arange(12), np.arange(12)) % 2 == 0) & ~np.eye(12, dtype=bool)
    by_row = csr_matrix(has.astype(float))
    Y = initial_factors(has.sum(axis=0), 2, seed=0)
    for _ in range(15):
        X = half_implicit(*parts(by_row), Y, gramian(Y), alpha=4.0, reg=0.01).factors
        Y = half_implicit(*parts(by_row.T.tocsr()), X, gramian(X), alpha=4.0, reg=0.01).factors
    scores = np.where(has, -np.inf, X @ Y.T)
    assert scores.argmax(axis=1).tolist() == list(range(12))


def test_a_system_without_a_solution_is_refused() -> None:
    nothing = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="raise the regularisation"):
        half_explicit(np.array([0, 1]), np.array([0], np.int32), np.array([1.0]), nothing, reg=0.0)
