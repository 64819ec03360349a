"""Transitions against loops over all pairs of a user's rows."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose

from jobs.kernels.training.transitions import transitions
from jobs.kernels.weights import ItemWeights

CLOSE = {"rtol": 1e-6, "atol": 1e-7}  # weights are stored in float32
ALL = 10**6


@st.composite
def sequences(draw: st.DrawFn):
    """indptr, items, moments, number of items: rows of a user sorted by item, several in one moment, moments
    left out."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_items = draw(st.integers(1, 9), label="items")
    lengths = draw(st.lists(st.integers(0, n_items), max_size=6), label="lengths")
    n_moments = draw(st.integers(1, 12), label="moments")
    items = [np.sort(random.choice(n_items, length, replace=False)) for length in lengths]
    flat = np.concatenate([*items, np.zeros(0, int)]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, flat, random.integers(0, n_moments, len(flat)), n_items


def plain(indptr, items, moments, n_items: int, lags: int, discount: float, damping: float = 0.0) -> np.ndarray:
    """The definition, one pair of rows at a time, nothing cut."""
    counts = Counter(items.tolist())
    W = np.zeros((n_items, n_items))
    for u in range(len(indptr) - 1):
        rows = range(indptr[u], indptr[u + 1])
        for a in rows:
            for b in rows:
                if 1 <= moments[b] - moments[a] <= lags and items[a] != items[b]:
                    W[items[a], items[b]] += discount ** (moments[b] - moments[a] - 1)
    for i in range(n_items):
        for j in range(n_items):
            W[i, j] /= math.sqrt((counts[i] + damping) * (counts[j] + damping) or 1)
    return W


def full(weights: ItemWeights) -> np.ndarray:
    return weights.rows(0, weights.n_items).toarray()


@given(sequences(), st.integers(1, 12), st.sampled_from([1.0, 0.8, 0.3]), st.sampled_from([0.0, 0.5, 20.0]))
def test_transitions_are_the_definition(drawn, lags: int, discount: float, damping: float) -> None:
    found = transitions(*drawn, ALL, lags=lags, discount=discount, damping=damping, most_pairs=ALL)
    assert_allclose(full(found), plain(*drawn, lags, discount, damping), **CLOSE)


@given(sequences(), st.integers(1, 6), st.integers(1, 4))
def test_the_strongest_of_each_row_are_kept(drawn, lags: int, keep: int) -> None:
    found = full(transitions(*drawn, keep, lags=lags, discount=0.8))
    expected = plain(*drawn, lags, 0.8)
    best, wanted = (np.sort(W, axis=1)[:, ::-1][:, :keep] for W in (found, expected))
    assert_allclose(best, wanted, **CLOSE)
    assert_allclose(found[found != 0], expected[found != 0], **CLOSE)
    assert (np.count_nonzero(found, axis=1) <= keep).all()


@given(sequences(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))
def test_transitions_do_not_depend_on_the_blocks(drawn, lags, most_pairs, block_pairs, block_rows) -> None:
    options = {"lags": lags, "most_pairs": most_pairs}
    whole = transitions(*drawn, 5, **options)
    parts = transitions(*drawn, 5, **options, block_pairs=block_pairs, block_rows=block_rows)
    assert whole.indptr.tolist() == parts.indptr.tolist() and whole.indices.tolist() == parts.indices.tolist()
    assert_allclose(whole.data, parts.data, rtol=1e-7)


@given(sequences(), st.integers(1, 4))
def test_a_row_has_at_most_its_pairs_and_the_nearest_moments_come_first(drawn, most_pairs: int) -> None:
    indptr, items, moments, n_items = drawn
    found = full(transitions(*drawn, ALL, lags=20, discount=1.0, most_pairs=most_pairs))
    counts = np.maximum(np.bincount(items, minlength=n_items), 1)
    pairs = found * np.sqrt(np.outer(counts, counts))  # with a discount of 1 every pair counts 1
    assert_allclose(pairs.sum(axis=1), np.bincount(items, _n_pairs(indptr, moments, most_pairs), n_items), rtol=1e-5)
    surely = plain_nearest(indptr, items, moments, n_items, most_pairs)
    assert (pairs >= surely - 1e-5).all()


def _n_pairs(indptr, moments, most_pairs: int) -> list[int]:
    return [
        min(sum(moments[b] > moments[a] for b in range(indptr[u], indptr[u + 1])), most_pairs)
        for u in range(len(indptr) - 1)
        for a in range(indptr[u], indptr[u + 1])
    ]


def plain_nearest(indptr, items, moments, n_items: int, most_pairs: int) -> np.ndarray:
    """Pairs with those later moments that fit whole into what a row may have."""
    pairs = np.zeros((n_items, n_items))
    for u in range(len(indptr) - 1):
        rows = range(indptr[u], indptr[u + 1])
        for a in rows:
            for b in rows:
                if moments[b] > moments[a] and sum(moments[a] < moments[c] <= moments[b] for c in rows) <= most_pairs:
                    pairs[items[a], items[b]] += 1
    return pairs


@given(sequences().filter(lambda drawn: len(drawn[0]) > 2))
def test_the_order_of_users_does_not_matter(drawn) -> None:
    indptr, items, moments, n_items = drawn
    order = np.arange(len(indptr) - 1)[::-1]
    rows = np.concatenate([np.arange(indptr[u], indptr[u + 1]) for u in order]).astype(int)
    turned = np.concatenate([[0], np.cumsum(np.diff(indptr)[order])])
    one = transitions(indptr, items, moments, n_items, 5, most_pairs=2)
    other = transitions(turned, items[rows], moments[rows], n_items, 5, most_pairs=2)
    assert one.indices.tolist() == other.indices.tolist() and one.data.tolist() == other.data.tolist()


def test_the_miniature_of_the_docstring() -> None:
    items, options = np.arange(4, dtype=np.int32), {"lags": 2, "discount": 0.5}
    three = transitions(np.array([0, 3]), items[:3], np.array([0, 1, 1]), 3, 10, **options)
    assert full(three).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    four = transitions(np.array([0, 4]), items, np.array([0, 1, 1, 2]), 4, 10, **options)
    assert full(four).tolist() == [[0, 1, 1, 0.5], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_a_session_of_thousands_of_rows_stays_small() -> None:
    n = 30_000
    items, moments = np.arange(n, dtype=np.int32), np.arange(n) // 15_000
    found = transitions(np.array([0, n]), items, moments, n, 500, most_pairs=20)
    lengths = np.diff(found.indptr)
    assert (lengths[:15_000] == 20).all() and (lengths[15_000:] == 0).all()


def test_what_is_cut_off_a_moment_differs_from_user_to_user() -> None:
    n_users, n = 40, 30
    # Item 0 first, then a moment of 30 to 69 others, of which a row may have three.
    items = [np.arange(n + u + 1) for u in range(n_users)]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in items])])
    moments = np.concatenate([(row > 0).astype(int) for row in items])
    found = transitions(indptr, np.concatenate(items).astype(np.int32), moments, 100, 100, most_pairs=3)
    assert np.diff(found.indptr)[0] > 30


@pytest.mark.parametrize("wrong", [{"lags": 0}, {"most_pairs": 0}, {"discount": 0.0}, {"discount": 1.5}])
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="needs lags"):
        transitions(np.array([0]), np.zeros(0, np.int32), np.zeros(0, int), 3, 10, **wrong)
