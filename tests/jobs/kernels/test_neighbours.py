"""Neighbours against dense cosines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.neighbours import factor_neighbours, nearest_to_all, sparse_neighbours, Vectors
from tests.jobs.kernels import plain


@st.composite
def rows(draw: st.DrawFn, *, is_sparse: bool):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_items, n_features = draw(st.integers(1, 25)), draw(st.integers(1, 8))
    found = random.normal(size=(n_items, n_features))
    if is_sparse:
        found = np.abs(found) * (random.random(found.shape) < 0.35)
    found[random.random(n_items) < 0.15] = 0
    block = np.sort(random.choice(n_items, draw(st.integers(1, n_items)), replace=False))
    return found.astype(np.float32), block, draw(st.integers(1, 30))


def assert_nearest(found, dense: np.ndarray, block: np.ndarray, n: int, *, shared_only: bool) -> None:
    """Same similarities at every place, each that of the item it stands with; ties may order either way in float32."""
    numbers, others, cosines = found
    assert set(numbers) <= set(block)
    for item in block:
        expected = plain.cosine_neighbours(dense, item, n, shared_only=shared_only) if dense[item].any() else []
        of_item = numbers == item
        assert cosines[of_item] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)
        assert len(set(others[of_item])) == of_item.sum() and item not in others[of_item]
        for other, cosine in zip(others[of_item], cosines[of_item]):
            norms = np.linalg.norm(dense[item].astype(float)) * np.linalg.norm(dense[other].astype(float))
            assert cosine == pytest.approx(dense[item].astype(float) @ dense[other] / norms, abs=1e-5)


@given(rows(is_sparse=False))
def test_factor_neighbours_are_the_nearest_by_angle(drawn) -> None:
    dense, block, n = drawn
    assert_nearest(factor_neighbours(dense, block, n), dense, block, n, shared_only=False)


@given(rows(is_sparse=True))
def test_sparse_neighbours_are_the_nearest_that_share_a_feature(drawn) -> None:
    dense, block, n = drawn
    norms = np.linalg.norm(dense, axis=1, keepdims=True)
    unit = csr_matrix(dense / np.where(norms > 0, norms, 1))
    assert_nearest(sparse_neighbours(unit, block, n), unit.toarray(), block, n, shared_only=True)


def test_equal_neighbours_come_in_the_order_of_their_numbers() -> None:
    same = csr_matrix(np.ones((5, 1), np.float32))
    numbers, others, cosines = sparse_neighbours(same, np.array([2]), 3)
    assert (numbers.tolist(), others.tolist(), cosines.tolist()) == ([2, 2, 2], [0, 1, 3], [1.0, 1.0, 1.0])


def test_an_item_without_a_vector_has_no_neighbour_and_is_nobodys() -> None:
    factors = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    numbers, others, _ = factor_neighbours(factors, np.array([0, 1, 2]), 5)
    assert (numbers.tolist(), others.tolist()) == ([0, 2], [2, 0])


@given(st.booleans().flatmap(lambda is_sparse: st.tuples(st.just(is_sparse), rows(is_sparse=is_sparse))), st.integers(0, 24))
def test_neighbours_of_several_are_those_whose_cosines_sum_highest(drawn, left_out: int) -> None:
    is_sparse, (dense, items, n) = drawn
    excluded = np.union1d(items, [min(left_out, len(dense) - 1)])
    found, sums = nearest_to_all(Vectors.of(csr_matrix(dense) if is_sparse else dense), items, n, excluded)
    norms = np.linalg.norm(dense.astype(float), axis=1, keepdims=True)
    unit = dense / np.where(norms > 0, norms, 1)
    expected = (unit @ unit[items].T).sum(axis=1)
    assert sums == pytest.approx(expected[found], abs=1e-12) and (np.diff(sums) <= 0).all()
    left = np.setdiff1d(np.flatnonzero(norms.ravel() > 0), excluded)
    left = left[np.abs(expected[left]) > 0] if is_sparse else left
    assert len(set(found)) == len(found) and set(found) <= set(left)
    assert sums == pytest.approx(np.sort(expected[left])[::-1][:n] if norms[items].any() else [], abs=1e-12)


def test_of_several_that_sum_alike_the_lower_number_stands_first() -> None:
    same = Vectors.of(np.ones((5, 2), np.float32))
    found, sums = nearest_to_all(same, np.array([1, 3]), 2, np.array([1, 3]))
    assert found.tolist() == [0, 2] and sums == pytest.approx([2.0, 2.0])
