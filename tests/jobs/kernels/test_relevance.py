"""Relevance: the miniature of its module, users without ratings, rows without a rating."""

from __future__ import annotations

import numpy as np

from jobs.kernels.histories import Histories
from jobs.kernels.relevance import damped_means, is_liked


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
