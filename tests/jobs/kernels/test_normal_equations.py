"""The equations and their solution against dense sums, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg.lapack import spotrf

from jobs.kernels.normal_equations import add_rows, cholesky, solve

TOLERANCE = {np.float32: 1e-4, np.float64: 1e-11}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_rows_are_added_to_the_upper_triangle_and_solved_in_the_precision_of_the_matrix(dtype, is_weighted: bool) -> None:
    draw = np.random.default_rng(0)
    Y, weights, base = draw.normal(size=(9, 4)), draw.random(9), np.eye(4) * 0.3
    dense = base + sum((weights[j] if is_weighted else 1.0) * np.outer(Y[j], Y[j]) for j in range(9))
    A = np.array(base, dtype, order="F")
    for part in (slice(0, 5), slice(5, 9)):
        add_rows(A, Y[part].astype(dtype), np.sqrt(weights[part]).astype(dtype) if is_weighted else None)
    assert_allclose(np.triu(A), np.triu(dense), rtol=TOLERANCE[dtype])
    assert not np.tril(A, -1).any()
    right = draw.normal(size=(4, 3))
    factor = cholesky(A)
    assert factor.dtype == dtype
    assert_allclose(solve(factor, right), np.linalg.solve(dense, right), rtol=TOLERANCE[dtype])
    assert_allclose(solve(factor, right[:, 0].astype(dtype)), np.linalg.solve(dense, right[:, 0]), rtol=TOLERANCE[dtype])


def test_the_miniature_of_the_docstring() -> None:
    A = np.eye(2, order="F")
    add_rows(A, np.array([[1.0, 0.0]]), np.array([1.0]))
    assert_allclose(solve(cholesky(A), np.array([2.0, 0.0])), [1.0, 0.0], rtol=1e-15)


def test_what_float32_cannot_factorise_is_factorised_in_float64() -> None:
    """Matrices whose third row is all but the sum of the others: rounding decides which of them single precision can factorise."""
    n_doubled = 0
    for seed in range(50):
        Y = np.random.default_rng(seed).normal(size=(3, 3))
        Y[2] = Y[0] + Y[1] + 1e-4 * Y[2]
        A = np.asfortranarray(Y @ Y.T, np.float32)
        if spotrf(A)[1] != 0 and np.linalg.eigvalsh(A.astype(float)).min() > 1e-12:
            before = A.copy()
            assert cholesky(A).dtype == np.float64 and (before == A).all()
            n_doubled += 1
    assert n_doubled > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equations_without_a_solution_say_what_to_do(dtype) -> None:
    with pytest.raises(ValueError, match="raise the regularisation"):
        cholesky(np.array([[1.0, 2.0], [2.0, 1.0]], dtype, order="F"))
