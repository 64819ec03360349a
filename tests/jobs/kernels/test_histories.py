"""Strengths of interactions, and histories as a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.histories import Histories, History, moments_of, strength


def test_the_histories_of_the_docstring() -> None:
    histories = Histories(np.array([0, 2, 3]), np.array([3, 5, 3], np.int32), np.ones(3), np.full(3, np.nan), np.array([0, 1, 0]))
    assert len(histories) == 2
    assert histories.user(0).items.tolist() == [3, 5] and histories.user(1).moments.tolist() == [0]
    assert histories.matrix(7).toarray().tolist() == [[0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0]]


@given(st.lists(st.floats(0.5, 5), min_size=2), st.floats(-3, 0.5), st.floats(5, 100))
def test_a_rating_is_stronger_the_higher_it_is_and_never_nothing(ratings, low, high) -> None:
    found = strength(np.array(ratings), np.ones(len(ratings)), low=low, high=high)
    assert ((found > 0) & (found <= 1)).all()
    order = np.argsort(ratings)
    assert (np.diff(found[order]) >= 0).all()


def test_the_ends_of_the_scale() -> None:
    assert strength(np.array([1.0, 3.0, 5.0]), np.ones(3), low=1, high=5).tolist() == [0.25, 0.625, 1.0]


def test_an_event_without_a_rating_counts_as_the_middle_of_the_scale() -> None:
    assert strength(np.array([np.nan, 1.0, 3.0]), np.ones(3), low=1, high=5).tolist() == [0.625, 0.25, 0.625]


@given(st.lists(st.floats(1e-6, 1e12), min_size=1))
def test_without_ratings_strength_grows_with_the_logarithm_of_the_weight(weights) -> None:
    found = strength(np.full(len(weights), np.nan), np.array(weights), low=None, high=None)
    assert (found > 0).all()
    assert strength(np.array([np.nan] * 2), np.array([1.0, 3.0]), low=None, high=None).tolist() == [1.0, 2.0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30))
def test_a_step_counts_the_distinct_earlier_times_of_its_user(rows) -> None:
    users, times = np.array([u for u, _ in rows], np.int64), np.array([t for _, t in rows], np.int64)
    expected = [len({other for user, other in rows if user == u and other < t}) for u, t in rows]
    assert moments_of(times, users).tolist() == expected


def test_half_of_a_row_is_left_after_a_half_life() -> None:
    history = History(np.arange(3), np.ones(3), np.full(3, np.nan), np.array([0, 4, 2]))
    assert history.recency(2.0).tolist() == [0.25, 1.0, 0.5]
    assert history.recency(np.inf).tolist() == [1.0, 1.0, 1.0]


@given(st.data(), st.sampled_from([1.5, 10.0, np.inf]))
def test_rows_of_a_block_count_what_they_do_in_their_own_history(data, half_life: float) -> None:
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    m = sum(lengths)
    moments = np.array(data.draw(st.lists(st.integers(0, 9), min_size=m, max_size=m)), np.int64)
    whole = Histories(np.concatenate([[0], np.cumsum(lengths)]), np.arange(m), np.full(m, 2.0), np.full(m, np.nan), moments)
    alone = [whole.user(k).recency(half_life).tolist() for k in range(len(whole))]
    assert whole.recency(half_life).tolist() == [value for rows in alone for value in rows]
    weighed = whole.weighted(max(m, 1), half_life)
    assert weighed.sum() == pytest.approx(2 * sum(map(sum, alone))) and weighed.shape == (len(whole), max(m, 1))


@given(st.data())
def test_selecting_taking_and_cutting_agree_with_rows_one_by_one(data) -> None:
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    m = int(indptr[-1])
    whole = Histories(indptr, np.arange(m), np.ones(m), np.full(m, np.nan), np.zeros(m, np.int64))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)), bool)
    users = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6)), np.int64)
    kept = whole.select(keep).take(users)
    rows = [[int(i) for i in range(indptr[u], indptr[u + 1]) if keep[i]] for u in users]
    assert [kept.user(k).items.tolist() for k in range(len(kept))] == rows
    start = data.draw(st.integers(0, len(lengths)))
    assert [whole.block(start, len(lengths)).user(k).items.tolist() for k in range(len(lengths) - start)] == [
        whole.user(k).items.tolist() for k in range(start, len(lengths))
    ]


def test_histories_in_the_numbers_of_another_catalogue_keep_what_it_knows_and_its_moments() -> None:
    """User 0 has items 1, 2, 3 at moments 0, 1, 2 and user 1 item 2; the other catalogue knows 1 and 3, as 0 and 4."""
    whole = Histories(
        np.array([0, 3, 4]), np.array([1, 2, 3, 2]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2, 3, 4]), np.array([0, 1, 2, 0])
    )
    found = whole.renumbered(np.array([-1, 0, -1, 4]))
    assert [array.tolist() for array in found[:3]] == [[0, 2, 2], [0, 4], [0.1, 0.3]]
    assert (found.ratings.tolist(), found.moments.tolist()) == ([1.0, 3.0], [0, 1])
    same = whole.renumbered(np.arange(4))
    assert all(np.array_equal(a, b) for a, b in zip(tuple.__iter__(same), tuple.__iter__(whole)))
