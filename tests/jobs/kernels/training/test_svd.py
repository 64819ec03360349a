"""Biased SVD against numpy's dense decomposition of the residuals written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories
from jobs.kernels.training.svd import fit, right_singular, SvdFactors

LOW, HIGH = 1.0, 5.0
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


def rated(matrix: csr_matrix) -> Histories:
    m = matrix.nnz
    return Histories(matrix.indptr, matrix.indices, np.ones(m), matrix.data, np.zeros(m, np.int64))


@st.composite
def ratings(draw: st.DrawFn, *, least: int = 1, most: int = 12) -> csr_matrix:
    """Users by items, ratings 1 to 5; some users and some items have none."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    shape = draw(st.integers(least, most), label="users"), draw(st.integers(least, most), label="items")
    has = random.random(shape) < draw(st.sampled_from([0.1, 0.4, 0.9]), label="density")
    return csr_matrix(has * random.integers(1, 6, shape).astype(float))


def residuals(R: np.ndarray, item_damping: float, damping: float):
    """E, mu, item biases and user biases, one item and one user at a time."""
    has = R > 0
    mu = R[has].mean() if has.any() else 0.0
    b_i = np.array([sum(R[has[:, i], i] - mu) / (item_damping + has[:, i].sum()) for i in range(R.shape[1])])
    b_u = np.array([sum(R[u][has[u]] - mu - b_i[has[u]]) / (damping + has[u].sum()) for u in range(len(R))])
    return np.where(has, R - mu - b_i - b_u[:, None], 0.0), mu, b_i, b_u


@given(ratings(), st.integers(1, 6), st.sampled_from([0.0, 0.4, 1.0]))
def test_predictions_are_those_of_the_dense_decomposition(matrix, n_factors, shrinkage) -> None:
    E, mu, b_i, b_u = residuals(matrix.toarray(), 2.0, 3.0)
    U, s, Vt = np.linalg.svd(E, full_matrices=False)
    f = min(n_factors, int((s > 1e-5 * max(s[0], 1e-9)).sum()))
    if f < len(s) and f and s[f] > 0.999 * s[f - 1]:
        return  # the directions beside the cut are equally strong: which of them is kept is anybody's choice
    threshold = shrinkage * s[f - 1] if f else 0.0
    expected = mu + b_i + b_u[:, None] + U[:, :f] @ np.diag(np.maximum(s[:f] - threshold, 0)) @ Vt[:f]
    side = fit(
        rated(matrix),
        matrix.shape[1],
        n_factors,
        low=LOW,
        high=HIGH,
        seed=1,
        shrinkage=shrinkage,
        item_damping=2.0,
        damping=3.0,
    )
    assert side.item_factors.shape == (matrix.shape[1], n_factors) and side.item_factors.dtype == np.float32
    for u in range(matrix.shape[0]):
        span = slice(*matrix.indptr[u : u + 2])
        posterior = side.posterior(matrix.indices[span], matrix.data[span])
        found = side.predict(posterior, np.arange(matrix.shape[1]))
        assert_allclose(found, np.clip(expected[u], LOW, HIGH), **FLOAT32)


@given(ratings(least=52, most=60), st.integers(1, 8))
def test_lanczos_finds_the_largest_singular_values_and_their_directions(matrix, n_factors) -> None:
    E = matrix.toarray()
    exact = np.linalg.svd(E, compute_uv=False)
    s, V = right_singular(matrix, n_factors, seed=3)
    n_found = int((s > 0).sum())
    assert_allclose(s[:n_found], exact[:n_found], rtol=1e-8)
    assert (exact[n_found:n_factors] <= 1e-5 * max(exact[0], 1e-9)).all()
    assert_allclose(V[:, :n_found].T @ V[:, :n_found], np.eye(n_found), atol=1e-7)
    left = np.sum((E - E @ V @ V.T) ** 2)
    assert left == pytest.approx(np.sum(exact[n_found:] ** 2), rel=1e-6, abs=1e-6)


@given(ratings(), st.integers(1, 4))
def test_contributions_and_biases_sum_to_the_prediction(matrix: csr_matrix, n_factors: int) -> None:
    n_items = matrix.shape[1]
    side = fit(rated(matrix), n_items, n_factors, low=-99, high=99, seed=1, shrinkage=0.3)
    items, values = matrix[0].indices, matrix[0].data
    posterior, targets = side.posterior(items, values), np.arange(n_items)
    shares = side.contributions(posterior, items, targets)
    assert shares.shape == (len(items), n_items)
    total = posterior.constant + side.item_biases + shares.sum(axis=0)
    assert_allclose(side.predict(posterior, targets), total, rtol=1e-12, atol=1e-12)


@given(ratings(), st.integers(1, 6))
def test_more_factors_rebuild_the_residuals_no_worse(matrix: csr_matrix, n_factors: int) -> None:
    E = residuals(matrix.toarray(), 5.0, 5.0)[0]
    losses = []
    for f in (n_factors, n_factors + 1):
        _, V = right_singular(csr_matrix(E), f, seed=0)
        losses.append(np.sum((E - E @ V @ V.T) ** 2))
    assert losses[1] <= losses[0] + 1e-9


def test_the_miniature_of_the_docstring() -> None:
    s, V = right_singular(csr_matrix([[1.0, -1.0], [-1.0, 1.0]]), 1, seed=0)
    assert_allclose(s, [2])
    assert_allclose(V * V[0], [[0.5], [-0.5]])
    side = SvdFactors(V.astype(np.float32), np.zeros(2), 0.0, 0.0, -5.0, 5.0)
    # With a damping of 0 one rating is all bias: without it, e = 1.
    half = SvdFactors(V.astype(np.float32), np.zeros(2), 0.0, math.inf, -5.0, 5.0)
    both, one = (np.array([0, 1]), np.array([1.0, -1.0])), (np.array([0]), np.array([1.0]))
    assert_allclose(half.predict(half.posterior(*both), np.arange(2)), [1, -1], rtol=1e-6)
    assert_allclose(half.predict(half.posterior(*one), np.arange(2)), [0.5, -0.5], rtol=1e-6)
    assert_allclose(side.posterior(np.array([0]), np.array([1.0])).constant, 1.0)


def test_the_same_seed_gives_the_same_factors() -> None:
    random = np.random.default_rng(0)
    matrix = csr_matrix((random.random((90, 70)) < 0.2) * random.integers(1, 6, (90, 70)).astype(float))
    one, two = (fit(rated(matrix), 70, 8, low=LOW, high=HIGH, seed=4).item_factors for _ in range(2))
    assert (one == two).all()
    other = fit(rated(matrix), 70, 8, low=LOW, high=HIGH, seed=5).item_factors
    assert_allclose(other, one, atol=1e-5)  # another start finds the same directions


def test_nothing_to_learn_from_is_the_mean_user_and_the_configured_dimension() -> None:
    side = fit(rated(csr_matrix((3, 4))), 4, 5, low=LOW, high=HIGH, seed=0)
    assert side.item_factors.shape == (4, 5) and not side.item_factors.any()
    nobody = side.posterior(np.zeros(0, int), np.zeros(0))
    assert side.predict(nobody, np.arange(4)).tolist() == [LOW] * 4


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1])
def test_a_shrinkage_that_is_no_share_is_refused(shrinkage: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        fit(rated(csr_matrix((1, 1))), 1, 1, low=LOW, high=HIGH, seed=0, shrinkage=shrinkage)
