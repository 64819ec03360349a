"""Accuracy of ratings and lists against their definitions and tables computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.evaluation import metrics
from tests.jobs.kernels import plain

N_ITEMS = 12
RANKED = ("precision", "recall_by_relevant", "recall_by_reachable", "ndcg", "average_precision", "reciprocal_rank", "hit_rate")


def plain_precision(ranking: list[int], held: set[int], k: int) -> float:
    return sum(item in held for item in ranking[:k]) / k


def plain_recall_by_reachable(ranking: list[int], held: set[int], k: int) -> float:
    return sum(item in held for item in ranking[:k]) / min(len(held), k)


def plain_average_precision(ranking: list[int], held: set[int], k: int) -> float:
    total = 0.0
    for position, item in enumerate(ranking[:k], 1):
        if item in held:
            total += sum(above in held for above in ranking[:position]) / position
    return total / min(len(held), k)


def plain_reciprocal_rank(ranking: list[int], held: set[int], k: int) -> float:
    for position, item in enumerate(ranking[:k], 1):
        if item in held:
            return 1 / position
    return 0.0


DEFINITIONS = {
    "precision": plain_precision,
    "recall_by_relevant": plain.recall,
    "recall_by_reachable": plain_recall_by_reachable,
    "ndcg": plain.ndcg,
    "average_precision": plain_average_precision,
    "reciprocal_rank": plain_reciprocal_rank,
    "hit_rate": plain.hit_rate,
}


def one_after_another(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], int)


def measured(name: str, lists: list[list[int]], held: list[list[int]], k: int) -> list[float]:
    held_indptr, held_items = one_after_another(held)
    hit = metrics.hits(*one_after_another(lists), held_indptr, held_items, k, N_ITEMS)
    return getattr(metrics, name)(hit, np.diff(held_indptr)).tolist()


# One hit at place 2 of 3; 1/log2(3) = 0.63093, ideal for one kept out 1, for two 1 + 0.63093, for three and more 2.13093.
@pytest.mark.parametrize(
    ("ranking", "held", "expected"),
    [
        ([4, 7, 9], [7], (1 / 3, 1, 1, 0.63093, 1 / 2, 1 / 2, 1)),
        ([4, 7, 9], [7, 1], (1 / 3, 1 / 2, 1 / 2, 0.63093 / 1.63093, 1 / 4, 1 / 2, 1)),
        ([4, 7, 9], [4, 7], (2 / 3, 1, 1, 1, 1, 1, 1)),
        ([4, 7, 9], [1], (0, 0, 0, 0, 0, 0, 0)),
        ([4, 7, 9], [9, 4], (2 / 3, 1, 1, 1.5 / 1.63093, (1 + 2 / 3) / 2, 1, 1)),
        ([9], [9], (1 / 3, 1, 1, 1, 1, 1, 1)),
        ([], [3], (0, 0, 0, 0, 0, 0, 0)),
        ([4, 7, 9], [0, 1, 2, 3, 4], (1 / 3, 1 / 5, 1 / 3, 1 / 2.13093, 1 / 3, 1, 1)),
    ],
)
def test_a_table_computed_by_hand(ranking, held, expected) -> None:
    found = [measured(name, [ranking], [held], 3)[0] for name in RANKED]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", RANKED)
def test_a_hit_below_k_does_not_count(name) -> None:
    assert measured(name, [[1, 2, 3]], [[3]], 2) == [0]


@pytest.mark.parametrize("name", RANKED)
def test_a_user_with_nothing_to_find_is_not_counted(name) -> None:
    values = np.array(measured(name, [[1, 2], [5, 6]], [[], [5]], 2))
    assert np.isnan(values[0]) and values[1] > 0
    assert metrics.counted_mean(values) == values[1]
    assert math.isnan(metrics.counted_mean(values[:1]))


def test_recall_is_by_the_number_of_relevant_items() -> None:
    assert metrics.recall is metrics.recall_by_relevant


def test_lists_of_a_fixed_width_keep_order_and_leave_places_empty() -> None:
    lists = metrics.fixed_width(*one_after_another([[4, 2, 9], [], [7]]), 2)
    assert lists.tolist() == [[4, 2], [-1, -1], [7, -1]]
    assert metrics.hit_table(lists, *one_after_another([[2, 9], [0], [7]]), N_ITEMS).tolist() == [
        [False, True],
        [False, False],
        [True, False],
    ]


def test_an_empty_place_is_not_the_last_item_of_the_user_before() -> None:
    lists = np.array([[-1, -1], [-1, -1]])
    assert not metrics.hit_table(lists, *one_after_another([[N_ITEMS - 1], [N_ITEMS - 1]]), N_ITEMS).any()


rankings = st.lists(st.integers(0, N_ITEMS - 1), max_size=10, unique=True)


@given(st.lists(st.tuples(rankings, st.sets(st.integers(0, N_ITEMS - 1), max_size=6)), min_size=1, max_size=5), st.integers(1, 12))
def test_metrics_equal_their_definitions(users, k) -> None:
    lists, held = [ranking for ranking, _ in users], [sorted(kept) for _, kept in users]
    for name in RANKED:
        expected = [DEFINITIONS[name](ranking, kept, k) if kept else math.nan for ranking, kept in users]
        found = measured(name, lists, held, k)
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert all(0 <= value <= 1 + 1e-12 for value in found if not math.isnan(value))


def test_errors_computed_by_hand() -> None:
    predicted, ratings = np.array([3.0, 4.0, 1.0, 2.0]), np.array([4.0, 4.0, np.nan, 5.0])
    assert metrics.rmse(predicted, ratings) == pytest.approx(math.sqrt(10 / 3))
    assert metrics.mae(predicted, ratings) == pytest.approx(4 / 3)
    assert math.isnan(metrics.rmse(predicted[2:3], ratings[2:3])) and math.isnan(metrics.mae(np.zeros(0), np.zeros(0)))


ratings_of_users = st.lists(
    st.lists(st.tuples(st.floats(0, 6), st.sampled_from([0.5, 1, 2.5, 4, 5, math.nan])), max_size=5), min_size=1, max_size=5
)


@given(ratings_of_users)
def test_errors_equal_their_definitions_and_add_up_over_users(users) -> None:
    indptr = np.cumsum([0, *map(len, users)])
    predicted, ratings = (np.array([row[side] for user in users for row in user], float) for side in (0, 1))
    errors = [p - r for user in users for p, r in user if not math.isnan(r)]
    if not errors:
        assert math.isnan(metrics.rmse(predicted, ratings)) and math.isnan(metrics.mae(predicted, ratings))
        return
    expected = math.sqrt(sum(error**2 for error in errors) / len(errors))
    assert metrics.rmse(predicted, ratings) == pytest.approx(expected, rel=1e-12, abs=1e-150)
    assert metrics.mae(predicted, ratings) == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-12)
    squared, n = metrics.mean_per_user((predicted - ratings) ** 2, indptr)
    for user, mean, count in zip(users, squared, n):
        own = [(p - r) ** 2 for p, r in user if not math.isnan(r)]
        assert count == len(own)
        assert mean == pytest.approx(sum(own) / len(own) if own else math.nan, nan_ok=True)
    assert math.sqrt(np.nansum(squared * n) / n.sum()) == pytest.approx(expected, rel=1e-12, abs=1e-150)
