"""The linear item-by-item scorer against the matrix written out in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose

from jobs.kernels.weights import blocks_of, combined, ItemWeights, recency, stacked, strongest

SEEDS = st.integers(0, 2**32 - 1)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def sparse(dense: np.ndarray) -> ItemWeights:
    """All of a dense matrix."""
    return stacked([strongest(dense, dense.shape[1])])


def dense(weights: ItemWeights) -> np.ndarray:
    return weights.rows(0, weights.n_items).toarray()


def small(random: np.random.Generator, n_items: int) -> np.ndarray:
    """Few different values, so that there are ties, and many zeros."""
    shape = n_items, n_items
    return (random.integers(-3, 4, shape) * (random.random(shape) < 0.5)).astype(np.float32)


@st.composite
def scored(draw: st.DrawFn):
    """W in full, a history, its weights, and what is excluded."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_items = draw(st.integers(1, 15), label="items")
    items = random.choice(n_items, draw(st.integers(0, n_items), label="length"), replace=False).astype(np.int32)
    excluded = np.flatnonzero(random.random(n_items) < 0.2)
    return small(random, n_items), items, random.integers(1, 5, len(items)) / 4, excluded


@given(scored())
def test_scores_are_the_product_with_the_matrix(drawn) -> None:
    W, items, weights, _ = drawn
    h = np.zeros(len(W))
    h[items] = weights
    found = sparse(W).terms(items, weights).all_scores()
    assert found.shape == (len(W),) and found.dtype == np.float64
    assert_allclose(found, h @ W.astype(float), **EXACT)


@given(scored(), st.data())
def test_contributions_are_the_terms_and_sum_to_the_score(drawn, data) -> None:
    W, items, weights, _ = drawn
    targets = np.array(data.draw(st.lists(st.integers(0, len(W) - 1)), label="targets"), int)
    shares = sparse(W).terms(items, weights).contributions(targets)
    assert_allclose(shares, W[np.ix_(items, targets)] * weights[:, None], **EXACT)
    assert_allclose(shares.sum(axis=0), sparse(W).terms(items, weights).scores(targets), **EXACT)


@given(SEEDS, st.integers(1, 15), st.integers(0, 12), st.lists(st.sampled_from([-1, 0.5, 2]), min_size=1, max_size=3))
def test_a_combination_is_the_weighted_sum_with_the_largest_of_each_row(seed, n_items, keep, factors) -> None:
    random = np.random.default_rng(seed)
    matrices = [small(random, n_items) for _ in factors]
    total = sum(factor * W for factor, W in zip(factors, matrices))
    found = combined([(factor, sparse(W)) for factor, W in zip(factors, matrices)], len(total), keep)
    assert_allclose(dense(found), kept(total, keep), **EXACT)
    assert all((np.diff(row.indices) > 0).all() for row in (found.rows(j, j + 1) for j in range(len(total))))
    assert (found.data != 0).all()


def kept(W: np.ndarray, keep: int) -> np.ndarray:
    """The slow twin of pruning: each row sorted in full, ties to the lower item."""
    out = np.zeros_like(W)
    for j, row in enumerate(W):
        for i in sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))[:keep]:
            out[j, i] = row[i]
    return out


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_blocks_cover_all_rows_once_and_hold_what_they_may(costs: list[int], most: int) -> None:
    blocks = list(blocks_of(np.array(costs, int), most))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(len(costs)))
    assert all(sum(costs[block]) <= most or block.stop - block.start == 1 for block in blocks)


def test_a_combination_does_not_depend_on_its_blocks() -> None:
    W = small(np.random.default_rng(3), 40)
    terms = [(0.3, sparse(W)), (1.7, sparse(W.T))]
    whole, parts = combined(terms, 40, 7), combined(terms, 40, 7, block_cells=25)
    assert all((getattr(whole, name) == getattr(parts, name)).all() for name in ("indptr", "indices", "data"))


def test_the_miniature_of_the_docstring() -> None:
    weights = sparse(np.array([[0, 0.5, 0.1], [0.5, 0, 0], [0, 0, 0]]))
    items, h = np.array([0, 1]), np.array([1.0, 0.2])
    terms = weights.terms(items, h)
    assert_allclose(terms.all_scores(), [0.1, 0.5, 0.1], rtol=1e-7)
    assert_allclose(terms.contributions(np.array([2])), [[0.1], [0]], rtol=1e-7)


def test_a_matrix_on_disk_scores_like_one_in_memory(tmp_path) -> None:
    weights = sparse(small(np.random.default_rng(5), 12))
    arrays = {}
    for name in ("indptr", "indices", "data"):
        np.save(tmp_path / f"{name}.npy", getattr(weights, name))
        arrays[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    items, h = np.array([3, 8, 1]), np.array([1.0, 0.5, 0.25])
    mapped = ItemWeights(**arrays)
    assert (mapped.terms(items, h).all_scores() == weights.terms(items, h).all_scores()).all()
    assert (dense(mapped) == dense(weights)).all()


@given(st.lists(st.integers(0, 30), min_size=1), st.floats(0.1, 100))
def test_recency_halves_every_half_life_and_ends_at_one(moments: list[int], half_life: float) -> None:
    found = recency(max(moments) - np.array(moments), half_life)
    assert_allclose(found, [0.5 ** ((max(moments) - step) / half_life) for step in moments], rtol=1e-12)


def test_recency_by_hand_and_without_a_half_life() -> None:
    assert recency(np.array([4, 0, 2, 0]), 2.0).tolist() == [0.25, 1.0, 0.5, 1.0]
    assert recency(np.array([0, 4]), None).tolist() == recency(np.array([0, 4]), np.inf).tolist() == [1.0, 1.0]
    assert recency(np.zeros(0, int), 2.0).tolist() == []
    with pytest.raises(ValueError, match="above 0, not 0"):
        recency(np.array([1]), 0)
