"""Relevance: the miniature of its module, users without ratings, rows without a rating."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.kernels.histories import Histories
from jobs.kernels.relevance import counts_by_star, damped_means, is_liked, share_below, stars


def of(*ratings: list[float]) -> Histories:
    """Users with these ratings, of items 0, 1, ..."""
    flat = np.array([rating for user in ratings for rating in user], float)
    lengths = [len(user) for user in ratings]
    items = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    return Histories(np.concatenate([[0], np.cumsum(lengths)]), items, np.ones(len(flat)), flat, items.astype(np.int64))


def test_the_miniature() -> None:
    means = damped_means(of([5, 4]), mu=3.0, damping=1.0)
    assert means.tolist() == [4.0]
    assert is_liked(of([3, 4, 5]), means).tolist() == [False, True, True]


def test_each_user_is_compared_with_their_own_mean() -> None:
    means = damped_means(of([5, 5, 5], [1, 2]), mu=3.0, damping=0.0)
    assert means.tolist() == [5.0, 1.5]
    assert is_liked(of([4], [2]), means).tolist() == [False, True]


def test_a_user_without_ratings_has_the_overall_mean_even_undamped() -> None:
    histories = of([], [np.nan, np.nan])
    assert damped_means(histories, mu=3.5, damping=0.0).tolist() == [3.5, 3.5]
    assert damped_means(histories, mu=3.5, damping=5.0).tolist() == [3.5, 3.5]


def test_a_row_without_a_rating_is_an_event_and_relevant() -> None:
    assert is_liked(of([np.nan, 1]), np.array([3.0])).tolist() == [True, False]


def test_the_share_below_is_of_each_users_own_values_that_are_known() -> None:
    found = share_below(np.array([2.0, 3.0, 4.0, np.nan, 2.0, np.nan]), np.array([0, 0, 0, 0, 1, 2]), np.array([3.0, 1.0, 3.0]))
    np.testing.assert_array_equal(found, [1 / 3, 0, np.nan])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 5, [0, 1, 2, 3, 4, 5]),
        (1, 5, [1, 2, 3, 4, 5]),
        (0, 10, range(11)),
        (0, 100, range(0, 101, 10)),
        (-10, 10, range(-10, 11, 2)),
        (0, 1, [0, 1]),
        (3, 3, [3]),
    ],
)
def test_stars_are_whole_and_not_many(low: float, high: float, expected) -> None:
    assert stars(low, high).tolist() == list(expected)


def test_half_a_star_belongs_to_the_whole_one_below() -> None:
    counts = counts_by_star(np.array([0.5, 5.0, 4.5, 4.0, np.nan, 3.5]), np.array([0, 0, 0, 1, 1, 2]), 4, stars(0.5, 5))
    assert counts.tolist() == [[1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
