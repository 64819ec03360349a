"""Strengths of interactions, and histories as a matrix."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from jobs.kernels.histories import Histories, strength


def test_the_histories_of_the_docstring() -> None:
    histories = Histories(np.array([0, 2, 3]), np.array([3, 5, 3], np.int32), np.ones(3), np.full(3, np.nan))
    assert len(histories) == 2
    assert histories.matrix(7).toarray().tolist() == [[0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0]]


@given(st.lists(st.floats(0.5, 5), min_size=2), st.floats(-3, 0.5), st.floats(5, 100))
def test_a_rating_is_stronger_the_higher_it_is_and_never_nothing(ratings, low, high) -> None:
    found = strength(np.array(ratings), np.ones(len(ratings)), low=low, high=high)
    assert ((found > 0) & (found <= 1)).all()
    order = np.argsort(ratings)
    assert (np.diff(found[order]) >= 0).all()


def test_the_ends_of_the_scale() -> None:
    assert strength(np.array([1.0, 3.0, 5.0]), np.ones(3), low=1, high=5).tolist() == [0.25, 0.625, 1.0]


@given(st.lists(st.floats(1e-6, 1e12), min_size=1))
def test_without_ratings_strength_grows_with_the_logarithm_of_the_weight(weights) -> None:
    found = strength(np.full(len(weights), np.nan), np.array(weights), low=None, high=None)
    assert (found > 0).all()
    assert strength(np.array([np.nan] * 2), np.array([1.0, 3.0]), low=None, high=None).tolist() == [1.0, 2.0]
