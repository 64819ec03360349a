"""Top-N against a full sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.topn import FILTERED, top_n
from tests.jobs.kernels import plain


@st.composite
def queries(draw: st.DrawFn):
    """Item factors, queries, what each query has already, what nobody may get, and n. Small whole numbers, so that products
    are exact in float32 and ties occur."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_items, n_users = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    factors = random.integers(-3, 4, (n_items, 3)).astype(np.float32)
    wanted = random.integers(-3, 4, (n_users, 3)).astype(np.float32)
    own = csr_matrix((random.random((n_users, n_items)) < 0.3).astype(np.float32))
    excluded = np.flatnonzero(random.random(n_items) < 0.2)
    return factors, wanted, own, excluded, draw(st.integers(1, 40))


@given(queries())
def test_the_scores_are_those_of_a_full_sort(drawn) -> None:
    factors, wanted, own, excluded, n = drawn
    items, scores = top_n(factors, wanted, n, own=own, excluded=excluded)
    assert items.shape == scores.shape == (len(wanted), min(n, len(factors)))
    for k, query in enumerate(wanted):
        exact = (factors @ query).tolist()
        left_out = set(own[k].indices) | set(excluded)
        filled = scores[k] > FILTERED
        expected = plain.ranked(exact, n, left_out)
        assert scores[k][filled].tolist() == [exact[item] for item in expected]


@given(queries())
def test_items_are_distinct_and_neither_seen_nor_excluded(drawn) -> None:
    factors, wanted, own, excluded, n = drawn
    items, scores = top_n(factors, wanted, n, own=own, excluded=excluded)
    for k in range(len(wanted)):
        listed = items[k][scores[k] > FILTERED].tolist()
        assert len(set(listed)) == len(listed)
        assert not set(listed) & (set(own[k].indices) | set(excluded))


def test_no_query_and_no_item_give_empty_lists() -> None:
    assert top_n(np.zeros((3, 2), np.float32), np.zeros((0, 2), np.float32), 5)[0].shape == (0, 3)
    assert top_n(np.zeros((0, 2), np.float32), np.zeros((4, 2), np.float32), 5)[0].shape == (4, 0)
