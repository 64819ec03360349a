"""A recommender answers for a history as the kernels that it is made of do, by the ids and the scale of its release."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from jobs.kernels.histories import one_history
from jobs.kernels.lists import Lists, POPULAR, POPULAR_GENRE, recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.recommender import Recommender
from tests.jobs.kernels.worlds import HIGH, LOW, World, worlds


def of(world: World, *, min_history: int = 1) -> Recommender:
    return Recommender(np.arange(world.side.n_items) * 10, world.side, (LOW, HIGH), 5, 2, 3, min_history)


def assert_same(found: Lists, expected: Lists) -> None:
    for name, a, b in zip(Lists._fields, found, expected):
        np.testing.assert_array_equal(a, b, err_msg=name)


@given(worlds(blends=True))
def test_lists_and_pairs_are_those_of_the_kernels(world: World) -> None:
    recommender, side = of(world), world.side
    assert_same(recommender.lists(world.histories), recommend(side, world.histories, n=5, explain_n=2, reasons_n=3, min_history=1))
    excluded = np.array([0, 2], np.int32)
    assert_same(
        recommender.lists(world.histories, n=3, explain_n=3, excluded=excluded),
        recommend(side, world.histories, n=3, explain_n=3, reasons_n=3, min_history=1, excluded=excluded),
    )
    targets = np.array([1, 0], np.int32)
    assert_same(recommender.pairs(world.history(0), targets), score_items(side, world.history(0), targets, reasons_n=3, min_history=1))


@given(worlds(min_length=1))
def test_popular_lists_are_those_of_a_history_that_is_too_short(world: World) -> None:
    assert_same(of(world).popular(world.histories), of(world, min_history=10**6).lists(world.histories))
    assert set(of(world).popular(world.histories).tiers.tolist()) <= {POPULAR, POPULAR_GENRE}


@given(worlds())
def test_an_unpersonal_one_lists_the_most_popular_that_the_user_does_not_have(world: World) -> None:
    lists = of(world).unpersonal().popular(world.histories)
    for k in range(len(world.histories)):
        has = set(world.history(k).items.tolist())
        expected = [item for item in world.side.by_popularity.tolist() if item not in has][:5]
        assert lists.items[lists.indptr[k] : lists.indptr[k + 1]].tolist() == expected


@given(worlds())
def test_a_history_is_read_by_ids_on_the_scale_and_unknown_items_are_left_out(world: World) -> None:
    recommender = of(world)
    rows = {30: (4.5, 1.0, 7, "more"), 10: (None, 1.0, None, ""), 5: (5.0, 1.0, 9, "")}
    found = recommender.history(rows)
    expected = one_history(recommender.item_ids, [30, 10, 5], [4.5, None, 5.0], [1.0] * 3, [7, None, 9], low=LOW, high=HIGH)
    assert found.items.tolist() == [1, 3] and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found[:5], expected[:5]))
    assert len(recommender.history({})) == 1 and len(recommender.history({}).items) == 0


def test_an_item_has_the_number_of_its_place() -> None:
    numbers = Recommender(np.array([3, 5, 9]), None, None, 1, 1, 1, 1)
    assert [numbers.number(item) for item in (3, 9, 4, 10, "3")] == [0, 2, None, None, None]
    texts = Recommender(np.array(["a", "b"]), None, None, 1, 1, 1, 1)
    assert [texts.number(item) for item in ("b", "c", 1)] == [1, None, None]


@given(worlds(min_length=1))
def test_a_history_of_another_scale_counts_as_on_this_one(world: World) -> None:
    if np.isnan(world.histories.ratings).any():
        return
    wider = Recommender(np.arange(world.side.n_items), world.side, (0.0, 10.0), 5, 2, 3, 1)
    assert wider.reread(world.histories).strengths == pytest.approx(0.25 + 0.75 * world.histories.ratings / 10)
