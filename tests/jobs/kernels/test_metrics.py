"""Metrics against their definitions and tables computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels import metrics
from tests.jobs.kernels import plain

N_ITEMS = 12


def measured(measure, lists: list[list[int]], held: list[list[int]], k: int) -> list[float]:
    indptr, items = np.cumsum([0, *map(len, lists)]), np.array([i for row in lists for i in row], int)
    held_indptr, held_items = np.cumsum([0, *map(len, held)]), np.array([i for row in held for i in row], int)
    hit = metrics.hits(indptr, items, held_indptr, held_items, k, N_ITEMS)
    return measure(hit, np.diff(held_indptr)).tolist()


# One hit at place 2 of 3; 1/log2(3) = 0.63093, ideal for one kept out 1, for two 1 + 0.63093.
@pytest.mark.parametrize(("ranking", "held", "ndcg", "hit_rate", "recall"), [
    ([4, 7, 9], [7], 0.63093, 1, 1),
    ([4, 7, 9], [7, 1], 0.63093 / 1.63093, 1, 0.5),
    ([4, 7, 9], [4, 7], 1, 1, 1),
    ([4, 7, 9], [1], 0, 0, 0),
    ([4, 7, 9], [9, 4], 1.5 / 1.63093, 1, 1),
    ([], [3], 0, 0, 0),
    ([4, 7, 9], [0, 1, 2, 3, 4], 1 / 2.13093, 1, 0.2),
])
def test_a_table_computed_by_hand(ranking, held, ndcg, hit_rate, recall) -> None:
    assert measured(metrics.ndcg, [ranking], [held], 3) == pytest.approx([ndcg], abs=1e-5)
    assert measured(metrics.hit_rate, [ranking], [held], 3) == [hit_rate]
    assert measured(metrics.recall, [ranking], [held], 3) == [recall]


def test_a_hit_below_k_does_not_count() -> None:
    assert measured(metrics.recall, [[1, 2, 3]], [[3]], 2) == [0]


@given(
    st.lists(st.tuples(
        st.lists(st.integers(0, N_ITEMS - 1), max_size=10, unique=True), st.sets(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)
    ), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_a_block_of_users_is_measured_by_the_definitions(users, k) -> None:
    lists, held = [ranking for ranking, _ in users], [sorted(kept) for _, kept in users]
    for measure in ("ndcg", "hit_rate", "recall"):
        expected = [getattr(plain, measure)(ranking, kept, k) for ranking, kept in users]
        found = measured(getattr(metrics, measure), lists, held, k)
        assert found == pytest.approx(expected, abs=1e-12)
        assert all(0 <= value <= 1 + 1e-12 for value in found)
