"""Causes of what came and went, on lists where they are known, and by hypothesis for any lists."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from jobs.kernels.evaluation.changes import BOTH, Change, changes, FILTER, HISTORY, Lists, RATED, SIDE

ALL = range(10)


def found(before, now, new_history, new_side, *, rated=((), ()), listable=(ALL, ALL)) -> list[tuple]:
    return [tuple(change) for change in changes(Lists(before, now, new_history, new_side), rated=rated, listable=listable)]


@pytest.mark.parametrize(
    ("new_history", "new_side", "cause"),
    [
        ((2, 3), (1, 2), HISTORY),
        ((1, 2), (2, 3), SIDE),
        ((2, 3), (2, 3), BOTH),
        ((1, 2), (1, 2), BOTH),
    ],
)
def test_substituting_one_of_the_two_tells_the_cause(new_history, new_side, cause) -> None:
    assert found((1, 2), (2, 3), new_history, new_side) == [(1, 1, None, cause), (3, None, 2, cause)]


def test_what_was_rated_meanwhile_went_and_what_is_no_longer_rated_came() -> None:
    assert found((1, 2), (2, 3), (2, 3), (1, 2), rated=((3,), (1,))) == [(1, 1, None, RATED), (3, None, 2, RATED)]


def test_what_the_other_release_may_not_list_is_filtered() -> None:
    assert found((1, 2), (2, 3), (1, 2), (2, 3), listable=((1, 2), (2, 3))) == [(1, 1, None, FILTER), (3, None, 2, FILTER)]


def test_nothing_changed_is_nothing() -> None:
    assert found((4, 2), (2, 4), (4, 2), (2, 4)) == []


LISTS = st.lists(st.sampled_from(ALL), max_size=5, unique=True)


@given(LISTS, LISTS, LISTS, LISTS)
def test_every_item_of_one_list_alone_has_one_cause(before, now, new_history, new_side) -> None:
    rows = changes(Lists(before, now, new_history, new_side), rated=((), ()), listable=(ALL, ALL))
    assert {row.item_id for row in rows} == set(before) ^ set(now) and len(rows) == len({row.item_id for row in rows})
    for row in rows:
        assert isinstance(row, Change) and (row.rank_before is None) != (row.rank_now is None)
        assert (before[row.rank_before - 1] if row.rank_before else now[row.rank_now - 1]) == row.item_id


@given(LISTS, LISTS)
def test_where_only_one_thing_changed_it_is_the_cause_of_everything(before, now) -> None:
    def causes(new_history, new_side) -> set[str]:
        return {row.cause for row in changes(Lists(before, now, new_history, new_side), rated=((), ()), listable=(ALL, ALL))}

    assert causes(now, before) <= {HISTORY} and causes(before, now) <= {SIDE}
