"""Neighbours by who interacted with them, against loops over all pairs of items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from implicit.nearest_neighbours import bm25_weight
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.training.cooccurrence import bm25_weights, Columns, over_mean, turbo_weights
from jobs.kernels.weights import ItemWeights, stacked

CLOSE = {"rtol": 1e-6, "atol": 1e-7}  # similarities are stored in float32


def cosine(indptr, items, values, n_items: int, keep: int, **options) -> ItemWeights:
    """All rows, of any values."""
    X = csr_matrix((values, items, indptr), shape=(len(indptr) - 1, n_items), dtype=np.float64)
    return stacked([Columns.of(X).nearest(0, n_items, keep, **options)])


def bm25(indptr, items, strengths, n_items: int, keep: int, **options) -> ItemWeights:
    return cosine(indptr, items, bm25_weights(indptr, items, strengths, n_items), n_items, keep, **options)


def adjusted_cosine(indptr, items, ratings, n_items: int, keep: int, **options) -> ItemWeights:
    return cosine(indptr, items, over_mean(indptr, ratings), n_items, keep, **options)


@st.composite
def interactions(draw: st.DrawFn):
    """indptr, items, strengths, ratings (some missing), number of items. Some users and some items have
    nothing."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_users, n_items = draw(st.integers(0, 8), label="users"), draw(st.integers(1, 9), label="items")
    has = random.random((n_users, n_items)) < draw(st.sampled_from([0.2, 0.5, 0.9]), label="density")
    matrix = csr_matrix(has)
    m = matrix.nnz
    ratings = np.where(random.random(m) < 0.2, np.nan, random.integers(1, 6, m).astype(float))
    strengths = random.integers(1, 4, m) / 2
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), strengths, ratings, n_items


def full(indptr: np.ndarray, items: np.ndarray, values: np.ndarray, n_items: int) -> np.ndarray:
    return csr_matrix((np.asarray(values, float), items, indptr), shape=(len(indptr) - 1, n_items)).toarray()


def plain_neighbours(X: np.ndarray, keep: int, shrink: float, *, is_normalized: bool = True) -> np.ndarray:
    """The definition, one pair of items at a time."""
    n_items = X.shape[1]
    out = np.zeros((n_items, n_items))
    for j in range(n_items):
        near = []
        for i in range(n_items):
            product = sum(X[u, j] * X[u, i] for u in range(len(X)))
            sizes = math.sqrt(sum(X[:, j] ** 2)) * math.sqrt(sum(X[:, i] ** 2)) if is_normalized else 1.0
            if i != j and product > 1e-12:
                near.append((i, np.float32(product / (sizes + shrink))))
        for i, similarity in sorted(near, key=lambda pair: (-pair[1], pair[0]))[:keep]:
            out[j, i] = similarity
    return out


def assert_nearest(found: ItemWeights, X: np.ndarray, keep: int, shrink: float, **options) -> None:
    """Compare with the similarities of the definition; of two that tie up to rounding either may be kept."""
    W = found.rows(0, found.n_items).toarray()
    everything = plain_neighbours(X, len(W), shrink, **options)
    assert_allclose(np.sort(W, axis=1), np.sort(plain_neighbours(X, keep, shrink, **options), axis=1), **CLOSE)
    assert_allclose(W[W != 0], everything[W != 0], **CLOSE)
    assert not W.diagonal().any()


@given(interactions(), st.integers(1, 10), st.sampled_from([0.0, 1.0, 7.5]))
def test_cosine_neighbours_are_the_definition(drawn, keep: int, shrink: float) -> None:
    indptr, items, strengths, _, n_items = drawn
    found = cosine(indptr, items, strengths, n_items, keep, shrink=shrink)
    assert_nearest(found, full(indptr, items, strengths, n_items), keep, shrink)


@given(interactions(), st.integers(1, 10), st.sampled_from([0.0, 1.0, 7.5]), st.booleans())
def test_bm25_neighbours_are_the_definition(drawn, keep: int, shrink: float, is_normalized: bool) -> None:
    indptr, items, strengths, _, n_items = drawn
    x = np.zeros(len(items))
    sums = [sum(strengths[items == i]) for i in range(n_items)]
    for u in range(len(indptr) - 1):
        for k in range(indptr[u], indptr[u + 1]):
            length = 0.25 + 0.75 * sums[items[k]] / (sum(sums) / n_items)
            idf = math.log(n_items / (1 + indptr[u + 1] - indptr[u]))
            x[k] = strengths[k] * 2.2 / (1.2 * length + strengths[k]) * idf
    assert_allclose(bm25_weights(indptr, items, strengths, n_items), x, rtol=1e-12)
    found = bm25(indptr, items, strengths, n_items, keep, shrink=shrink, is_normalized=is_normalized)
    assert_nearest(found, full(indptr, items, x, n_items), keep, shrink, is_normalized=is_normalized)


@given(interactions(), st.integers(1, 10), st.floats(0, 1))
def test_turbo_cf_is_the_product_of_the_matrix_scaled_by_the_degrees_of_users_and_items(drawn, keep: int, by_user: float) -> None:
    indptr, items, strengths, _, n_items = drawn
    X = full(indptr, items, np.ones(len(items)), n_items)
    of_users, of_items = X.sum(axis=1), X.sum(axis=0)
    for u, i in zip(*np.nonzero(X)):
        X[u, i] = of_users[u] ** -by_user * of_items[i] ** (by_user - 1)
    x = turbo_weights(indptr, items, n_items, by_user)
    assert_allclose(full(indptr, items, x, n_items), X, rtol=1e-12)
    assert_nearest(cosine(indptr, items, x, n_items, keep, is_normalized=False), X, keep, 0.0, is_normalized=False)


@given(interactions(), st.integers(1, 10), st.sampled_from([0.0, 1.0, 7.5]))
def test_adjusted_cosine_neighbours_are_the_definition(drawn, keep: int, shrink: float) -> None:
    indptr, items, _, ratings, n_items = drawn
    x = np.zeros(len(items))
    for u in range(len(indptr) - 1):
        known = [k for k in range(indptr[u], indptr[u + 1]) if not math.isnan(ratings[k])]
        for k in known:
            x[k] = ratings[k] - sum(ratings[known]) / len(known)
    assert_allclose(over_mean(indptr, ratings), x, rtol=1e-12, atol=1e-12)
    found = adjusted_cosine(indptr, items, ratings, n_items, keep, shrink=shrink)
    assert_nearest(found, full(indptr, items, over_mean(indptr, ratings), n_items), keep, shrink)


@given(interactions().filter(lambda drawn: len(drawn[1]) > 0), st.floats(0.1, 100), st.floats(0, 1))
def test_bm25_weights_are_those_of_implicit(drawn, k1: float, b: float) -> None:
    indptr, items, strengths, _, n_items = drawn
    expected = bm25_weight(csr_matrix(full(indptr, items, strengths, n_items)).T, k1, b).T.toarray()
    found = bm25_weights(indptr, items, strengths, n_items, k1=k1, b=b)
    assert_allclose(
        full(indptr, items, found, n_items), expected, rtol=1e-9, atol=1e-14
    )  # implicit's log N - log N is not 0 on every processor


@given(interactions(), st.integers(1, 5), st.integers(1, 30))
def test_neighbours_do_not_depend_on_the_blocks(drawn, keep: int, block_cells: int) -> None:
    indptr, items, strengths, _, n_items = drawn
    whole = cosine(indptr, items, strengths, n_items, keep, shrink=1.0)
    parts = cosine(indptr, items, strengths, n_items, keep, shrink=1.0, block_cells=block_cells)
    assert all((getattr(whole, name) == getattr(parts, name)).all() for name in ("indptr", "indices", "data"))


def test_the_miniature_of_the_docstring() -> None:
    indptr, items = np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 1], np.int32)
    W = cosine(indptr, items, np.ones(5), 2, 10).rows(0, 2).toarray()
    assert_allclose(W, [[0, 2 / math.sqrt(6)], [2 / math.sqrt(6), 0]], rtol=1e-6)
    shrunk = cosine(indptr, items, np.ones(5), 2, 10, shrink=1.0).data
    assert_allclose(shrunk, 2 / (math.sqrt(6) + 1), rtol=1e-6)


def test_items_that_users_rate_oppositely_are_not_near() -> None:
    indptr, items = np.array([0, 3, 6]), np.array([0, 1, 2, 0, 1, 2], np.int32)
    ratings = np.array([5.0, 5.0, 2.0, 1.0, 1.0, 4.0])  # less the mean: 1 1 -2 and -1 -1 2
    found = adjusted_cosine(indptr, items, ratings, 3, 10)
    assert found.rows(0, 3).toarray() == pytest.approx(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))


def test_equally_near_items_come_in_the_order_of_their_numbers() -> None:
    found = cosine(np.array([0, 5]), np.arange(5, dtype=np.int32), np.ones(5), 5, 2)
    assert [found.rows(j, j + 1).indices.tolist() for j in range(5)] == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
