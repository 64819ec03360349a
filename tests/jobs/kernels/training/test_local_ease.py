"""The local form of EASE against the closed form, over all items and over the neighbourhood that is its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from jobs.kernels.training.cooccurrence import Columns
from jobs.kernels.training.local_ease import Pairs, penalties, strongest_pairs, with_tail
from jobs.kernels.weights import ItemWeights
from tests.jobs.kernels.training.test_ease import users

CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # what is stored in float32
ALL = 12  # items at most


def inverse_of(X: np.ndarray, reg: float, dropout: float = 0.0) -> np.ndarray:
    G = X.T.astype(float) @ X
    return np.linalg.inv(G + reg * np.eye(len(G)) + dropout / (1 - dropout) * np.diag(G.diagonal()))


def columns_of(X: np.ndarray, reg: float) -> Columns:
    counts = X.sum(axis=0).astype(float)
    return Columns.of(csr_matrix(X.astype(float)))._replace(norms=np.sqrt(counts + reg))


def counted(X: np.ndarray, n_head: int, reg: float, *, dropout: float = 0.0, keep: int = ALL) -> Pairs:
    counts, head = X.sum(axis=0).astype(float), X[:, :n_head].astype(np.float32)
    indptr, items, values = strongest_pairs(columns_of(X, reg), n_head, X.shape[1], keep)
    tail = csr_matrix((values, items, indptr), shape=(X.shape[1] - n_head, X.shape[1]))
    return Pairs(head.T @ head, tail, counts, penalties(counts, reg, dropout))


def dense(arrays: tuple[np.ndarray, np.ndarray, np.ndarray], n_items: int) -> np.ndarray:
    indptr, items, values = arrays
    return csr_matrix((values, items, indptr), shape=(len(indptr) - 1, n_items)).toarray()


@given(users(), st.integers(0, ALL), st.sampled_from([0.5, 20.0]), st.sampled_from([0.0, 0.5]))
def test_a_neighbourhood_of_all_items_gives_the_inverse_of_all(X: np.ndarray, n_head: int, reg: float, dropout: float) -> None:
    """One user has all items, so that each is a neighbour of each."""
    X, n_items = np.vstack([X, np.ones((1, X.shape[1]), np.float32)]), X.shape[1]
    n_head = min(n_head, n_items)
    found = dense(counted(X, n_head, reg, dropout=dropout).inverse(0, n_items - n_head, ALL), n_items)
    assert_allclose(found, inverse_of(X, reg, dropout)[n_head:], **CLOSE)


@given(users(), st.integers(0, 4), st.integers(1, 4))
def test_a_smaller_one_gives_it_over_what_explains_the_item_best(X: np.ndarray, n_head: int, n_neighbours: int) -> None:
    n_items, reg = X.shape[1], 2.0
    n_head = min(n_head, n_items)
    G = X.T.astype(float) @ X
    found = dense(counted(X, n_head, reg).inverse(0, n_items - n_head, n_neighbours), n_items)
    for j in range(n_head, n_items):
        gain = np.float32(G[:, j] ** 2 / (G.diagonal() + reg))
        S = sorted(sorted((i for i in range(n_items) if i != j and G[i, j]), key=lambda i: (-gain[i], i))[:n_neighbours])
        expected = np.zeros(n_items)
        expected[[*S, j]] = inverse_of(X[:, [*S, j]], reg)[-1]
        assert_allclose(found[j - n_head], expected, **CLOSE)


@given(users(), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, ALL]))
def test_neither_ranges_nor_blocks_nor_the_order_of_users_matter(X: np.ndarray, seed: int, keep: int) -> None:
    n_items, draw = X.shape[1], np.random.default_rng(seed)
    whole = strongest_pairs(columns_of(X, 3.0), 0, n_items, keep)
    shuffled, cut = X[draw.permutation(len(X))], int(draw.integers(0, n_items + 1))
    parts = [strongest_pairs(columns_of(shuffled, 3.0), *span, keep, block_cells=1) for span in ((0, cut), (cut, n_items))]
    for number in (1, 2):
        assert_array_equal(whole[number], np.concatenate([part[number] for part in parts]))
    pairs = counted(X, 0, 3.0, keep=keep)
    one, *both = pairs.inverse(0, n_items, 3), pairs.inverse(0, cut, 3), pairs.inverse(cut, n_items, 3)
    for number in (1, 2):
        assert_array_equal(one[number], np.concatenate([part[number] for part in both]))


def test_of_equal_pairs_the_lower_item_is_kept() -> None:
    X = np.ones((4, 6), np.float32)
    pairs = counted(X, 0, 1.0, keep=3)
    assert [row.indices.tolist() for row in pairs.tail] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    solved = [row.nonzero()[0].tolist() for row in dense(pairs.inverse(0, 6, 2), 6)]
    assert solved == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]]


def test_pairs_that_are_not_counted_leave_a_system_that_is_solved_with_more_on_its_diagonal() -> None:
    """Of four items that the same hundred users have the pair of 1 and 2 is missing: without it (1, -1, -1) has a negative square."""
    full = 100.0 * np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    pairs = Pairs(np.zeros((0, 0), np.float32), csr_matrix(full), np.full(4, 100.0), np.full(4, 1.0))
    A = full[:3, :3] + 101.0 * np.eye(3)
    assert np.linalg.eigvalsh(A).min() < 0 < np.linalg.eigvalsh(A + 101.0 * np.eye(3)).min()
    w = np.linalg.solve(A + 101.0 * np.eye(3), full[3, :3])
    precision = 1 / (101 - w @ full[3, :3])
    assert_allclose(dense(pairs.inverse(3, 4, 3), 4)[0], [*(-w * precision), precision], **CLOSE)


def test_what_is_explained_by_more_than_there_is_leaves_the_penalty() -> None:
    """Items 0 and 1 have the same users as 2, and their own pair is missing: each explains all of it."""
    full = 100.0 * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    pairs = Pairs(np.zeros((0, 0), np.float32), csr_matrix(full), np.full(3, 100.0), np.full(3, 1.0))
    assert dense(pairs.inverse(2, 3, 2), 3)[0, 2] == 1


@given(users(), st.integers(1, ALL - 1), st.sampled_from([0.0, 0.3]))
def test_the_tail_comes_to_the_head_in_both_directions_and_scaled(X: np.ndarray, n_head: int, exponent: float) -> None:
    """Items of the tail are item_nums 0, 2, 4, ..., those of the head others; some are not covered, and one user has all that are."""
    X = np.vstack([X, np.ones((1, X.shape[1]), np.float32)])
    n_head, n_kept, reg = min(n_head, X.shape[1]), X.shape[1], 2.0
    kept = np.concatenate([2 * np.arange(n_head) + 1, 2 * np.arange(n_kept - n_head)])
    counts, n_items, P, of_head = X.sum(axis=0), 2 * ALL, inverse_of(X, reg), inverse_of(X[:, :n_head], reg)
    B = np.zeros((n_kept, n_kept))
    B[:n_head, :n_head] = -of_head / of_head.diagonal()
    B[:, n_head:] = -P[:, n_head:] / P.diagonal()[n_head:]
    B[n_head:, :n_head] = -P[n_head:, :n_head] / of_head.diagonal()
    np.fill_diagonal(B, 0)
    whole = np.zeros((n_items, n_items))
    whole[np.ix_(kept, kept)] = B * (counts[:, None] / counts) ** exponent
    is_head = np.isin(np.arange(n_items), kept[:n_head])
    own = csr_matrix(whole * is_head * is_head[:, None])
    inverse = ItemWeights(*counted(X, n_head, reg).inverse(0, n_kept - n_head, ALL))
    join = lambda keep: with_tail(
        ItemWeights(own.indptr, own.indices, own.data.astype(np.float32)), inverse, of_head.diagonal(), kept, counts, keep,
        rarity_exponent=exponent,
    )  # fmt: skip
    assert_allclose(join(n_items).rows(0, n_items).toarray(), whole, rtol=1e-4, atol=1e-6)
    assert np.diff(join(2).indptr).tolist() == np.minimum(np.diff(join(n_items).indptr), 2).tolist()


def test_the_miniature_of_the_docstring() -> None:
    X = np.array([[1, 1], [1, 1], [1, 0]], np.float32)
    inverse = ItemWeights(*counted(X, 1, 1.0).inverse(0, 1, 5))
    assert_allclose(inverse.data, [-0.25, 0.5])
    nothing = ItemWeights(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found = with_tail(nothing, inverse, np.array([0.25]), np.array([0, 1]), np.array([3, 2]), 2).rows(0, 2).toarray()
    assert_allclose(found, [[0, 0.5], [1, 0]])


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, [3.0, 3.0]), (0.5, [13.0, 3.0])])
def test_penalties_grow_with_dropout_for_what_many_have(dropout: float, expected: list[float]) -> None:
    assert penalties(np.array([10.0, 0.0]), 3.0, dropout).tolist() == expected
