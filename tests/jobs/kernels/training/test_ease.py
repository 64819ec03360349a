"""EASE against its closed form in dense float64, and against what it minimises."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.training.ease import gram, item_weights, memory_mib, most_popular, solve

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32 solves of small, well-posed systems


@st.composite
def users(draw: st.DrawFn) -> np.ndarray:
    """X (u, n), binary; some users and some items have nothing."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    shape = draw(st.integers(0, 25), label="users"), draw(st.integers(1, 12), label="items")
    return (random.random(shape) < draw(st.sampled_from([0.1, 0.4, 0.8]), label="density")).astype(np.float32)


def rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrix = csr_matrix(X)
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)


def closed_form(X: np.ndarray, reg: float) -> np.ndarray:
    P = np.linalg.inv(X.T.astype(float) @ X + reg * np.eye(X.shape[1]))
    B = np.eye(len(P)) - P @ np.diag(1 / np.diag(P))
    return B


@given(users(), st.integers(1, 12), st.sampled_from([1, 40, 10**6]), st.sampled_from([0.5, 4.0, 1e9]))
def test_the_gram_is_that_of_the_dense_matrix_however_it_is_added_up(X, n_kept, pairs, dense) -> None:
    indptr, items = rows(X)
    kept = most_popular(items, X.shape[1], n_kept)
    assert (gram(indptr, items, kept, X.shape[1], pairs=pairs, dense=dense) == X[:, kept].T @ X[:, kept]).all()


@given(users())
def test_grams_of_blocks_of_users_add_up(X: np.ndarray) -> None:
    half = len(X) // 2
    everything = np.arange(X.shape[1])
    parts = [gram(*rows(block), everything, X.shape[1]) for block in (X[:half], X[half:])]
    assert (sum(parts) == gram(*rows(X), everything, X.shape[1])).all()


@given(users(), st.sampled_from([0.5, 3.0, 100.0]))
def test_the_weights_are_the_closed_form(X: np.ndarray, reg: float) -> None:
    B = solve(gram(*rows(X), np.arange(X.shape[1]), X.shape[1]), reg)
    assert_allclose(B, closed_form(X, reg), **CLOSE)
    assert not B.diagonal().any()


@given(users(), st.sampled_from([0.5, 3.0]), st.sampled_from([0.1, 0.5, 0.9]))
def test_dropout_is_a_larger_lambda_for_what_many_have(X: np.ndarray, reg: float, dropout: float) -> None:
    everything = np.arange(X.shape[1])
    A = X.T.astype(float) @ X
    P = np.linalg.inv(A + reg * np.eye(len(A)) + dropout / (1 - dropout) * np.diag(A.diagonal()))
    expected = np.eye(len(P)) - P @ np.diag(1 / np.diag(P))
    assert_allclose(solve(gram(*rows(X), everything, X.shape[1]), reg, dropout=dropout), expected, **CLOSE)


def test_dropout_is_what_hiding_items_comes_to() -> None:
    """Of 40,000 copies of each user with half of the items hidden, the ridge regression that rebuilds an item from the others."""
    X = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]], float)
    hidden = np.tile(X, (40_000, 1)) * (np.random.default_rng(0).random((160_000, 3)) < 0.5) * 2
    B = solve((X.T @ X).astype(np.float32), 1e-6, dropout=0.5)
    for target in range(3):
        others = [item for item in range(3) if item != target]
        Z = hidden[:, others]
        found = np.linalg.solve(Z.T @ Z, Z.T @ np.tile(X[:, target], 40_000))
        assert_allclose(B[others, target], found, atol=0.02)


@given(users(), st.integers(1, 8), st.sampled_from([0.0, 0.2, 1.0]))
def test_the_larger_the_exponent_the_more_rare_items_are_given(X: np.ndarray, keep: int, exponent: float) -> None:
    indptr, items = rows(X)
    kept = most_popular(items, X.shape[1], X.shape[1])
    counts = X.sum(axis=0)[kept]
    B = solve(gram(indptr, items, kept, X.shape[1]), 2.0)
    scaled = (B * (counts[:, None] / counts) ** exponent).astype(np.float32)
    found = item_weights(B, kept, X.shape[1], len(kept), counts=counts, rarity_exponent=exponent)
    whole = csr_matrix((found.data, found.indices, found.indptr), shape=(X.shape[1],) * 2).toarray()
    assert_allclose(whole[np.ix_(kept, kept)], scaled, rtol=1e-5, atol=1e-7)
    few = item_weights(B, kept, X.shape[1], keep, counts=counts, rarity_exponent=exponent)
    assert np.diff(few.indptr).max(initial=0) <= keep


@given(users(), st.integers(0, 2**32 - 1))
def test_no_other_weights_with_a_zero_diagonal_rebuild_better(X: np.ndarray, seed: int) -> None:
    reg = 2.0
    B = solve((X.T @ X).astype(np.float32), reg).astype(float)
    other = np.random.default_rng(seed).normal(0, 0.05, B.shape)
    np.fill_diagonal(other, 0)
    loss = [np.sum((X - X @ W) ** 2) + reg * np.sum(W**2) for W in (B, B + other)]
    assert loss[0] <= loss[1] + 1e-6


@given(users(), st.sampled_from([0.5, 30.0]))
def test_the_float64_fallback_agrees(X: np.ndarray, reg: float) -> None:
    G = (X.T @ X).astype(np.float32)
    assert_allclose(solve(G.copy(), reg, accurate=-1.0), solve(G.copy(), reg), **CLOSE)


def test_an_ill_posed_system_that_float32_gets_wrong_is_solved_in_float64() -> None:
    # Fifty items that the same 200,000 users have: X'X + I has the condition number 10^7.
    G = np.full((50, 50), 200_000, np.float32)
    exact = np.linalg.inv(G.astype(float) + np.eye(50))
    expected = -exact / np.diag(exact)
    np.fill_diagonal(expected, 0)
    assert_allclose(solve(G.copy(), 1.0), expected, rtol=1e-5)
    with pytest.raises(AssertionError):
        assert_allclose(solve(G.copy(), 1.0, accurate=np.inf), expected, rtol=1e-5)


@given(users(), st.integers(1, 12))
def test_the_kept_items_are_the_most_popular(X: np.ndarray, n_kept: int) -> None:
    counts = X.sum(axis=0)
    expected = sorted((i for i in range(X.shape[1]) if counts[i]), key=lambda i: (-counts[i], i))[:n_kept]
    assert most_popular(rows(X)[1], X.shape[1], n_kept).tolist() == sorted(expected)


@given(users(), st.integers(1, 12), st.integers(1, 12))
def test_weights_over_the_kept_items_stand_where_they_belong(X: np.ndarray, n_kept: int, keep: int) -> None:
    indptr, items = rows(X)
    n_items = X.shape[1]
    kept = most_popular(items, n_items, n_kept)
    B = solve(gram(indptr, items, kept, n_items), 1.0)
    W = item_weights(B, kept, n_items, keep).rows(0, n_items).toarray()
    part = W[np.ix_(kept, kept)]
    assert ((part == B) | (part == 0)).all()
    assert ((part != 0).sum(axis=1) == np.minimum((B != 0).sum(axis=1), keep)).all()
    assert np.count_nonzero(W) == np.count_nonzero(part)


def test_the_miniature_of_the_docstring() -> None:
    X = np.array([[1, 1], [1, 1], [1, 0]], np.float32)
    assert_allclose(solve(gram(*rows(X), np.arange(2), 2), 1.0), [[0, 0.5], [2 / 3, 0]], rtol=1e-6)


def test_a_lambda_that_is_not_above_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0, not 0"):
        solve(np.eye(2, dtype=np.float32), 0)


def test_the_stated_memory_holds_even_for_the_fallback() -> None:
    X = (np.random.default_rng(0).random((900, 700)) < 0.1).astype(np.float32)
    G = gram(*rows(X), np.arange(700), 700)
    tracemalloc.start()
    try:
        solve(G, 10.0, accurate=-1.0)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak + G.nbytes / 2**20 <= memory_mib(700)
    assert memory_mib(20_000) == pytest.approx(12 * 20_000**2 / 2**20, rel=0.05)
