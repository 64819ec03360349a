"""A user's own frequency is a diagonal: against its definition, and in lists of a side that lets items come again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ALLOW, OFF, ONLY
from jobs.kernels.lists import recommend
from jobs.kernels.rankers import Blend, OwnFrequency
from jobs.kernels.training.repeats import own_weights
from schemas import setting_groups
from tests.jobs.kernels.worlds import World, worlds


def counted(histories: Histories) -> Histories:
    """The histories with made-up counts."""
    return Histories(*histories[:5], 1 + histories.items.astype(np.int64) % 4)


def test_the_kernels_and_the_setting_name_the_same_three() -> None:
    assert (OFF, ALLOW, ONLY) == setting_groups.REPEATS


def test_weights_are_the_damped_shares_of_users_who_came_back() -> None:
    """Item 0 has three users, two of them again; item 1 one, not again; item 2 nobody. Of all pairs half come again."""
    found = own_weights(np.array([0, 0, 0, 1]), np.array([2, 5, 1, 1]), 3, damping=2.0)
    np.testing.assert_allclose(found, [(2 + 2 * 0.5) / (3 + 2), (0 + 2 * 0.5) / (1 + 2), 0.0])


@given(worlds(min_length=1), st.sampled_from([np.inf, 3.0]))
def test_scores_and_contributions_are_those_of_a_dense_diagonal(world: World, half_life: float) -> None:
    weights = np.linspace(0.1, 1.0, world.side.n_items)
    part, histories = OwnFrequency(weights, half_life), counted(world.histories)
    of_all = part.all_scores(histories)
    for k in range(len(histories)):
        history, expected = histories.user(k), np.zeros(world.side.n_items)
        for item, n, moment in zip(history.items, history.counts, history.moments):
            expected[item] = n * 0.5 ** ((history.moments.max() - moment) / half_life) * weights[item]
        user, targets = part.fold_in(history), np.arange(world.side.n_items)
        np.testing.assert_allclose(part.scores(user, targets), expected)
        np.testing.assert_allclose(part.contributions(user, targets).sum(axis=0), expected)
        np.testing.assert_allclose(of_all[k], expected, rtol=1e-6)


@pytest.mark.parametrize("repeats", [OFF, ALLOW, ONLY])
@given(worlds(min_length=1))
def test_lists_have_what_the_side_lets_them_have_in_the_order_of_the_sum(repeats: str, world: World) -> None:
    n_items, histories = world.side.n_items, counted(world.histories)
    ranker = Blend(((1.0, world.side.factors), (2.0, OwnFrequency(np.ones(n_items), 4.0))))
    side = replace(world.side, ranker=ranker, repeats=repeats, blocked=np.array([1], np.int32))
    lists = recommend(side, histories, n=5, explain_n=5, reasons_n=2, min_history=1)
    for k in range(len(histories)):
        own = set(histories.user(k).items.tolist())
        may = {OFF: set(range(n_items)) - own, ALLOW: set(range(n_items)), ONLY: own}[repeats] - {1}
        rows = slice(lists.indptr[k], lists.indptr[k + 1])
        listed = lists.items[rows][lists.tiers[rows] == 0]
        assert set(lists.items[rows].tolist()) <= may and len(lists.items[rows]) == min(5, len(may))
        scores = ranker.scores(ranker.fold_in(histories.user(k)), np.arange(n_items))
        named = (item for item in may if scores[item] or repeats == ONLY)
        ranked = sorted(named, key=lambda item: (-scores[item], item))
        assert listed.tolist() == ranked[:5]
    shares = np.bincount(lists.reason_rows, np.nan_to_num(lists.contributions), len(lists.items))
    np.testing.assert_allclose(shares, lists.scores, rtol=1e-9, atol=1e-9)
    is_own = (lists.kinds == 0) & (lists.evidence == lists.items[lists.reason_rows])
    assert (lists.values[is_own] == 1 + lists.evidence[is_own] % 4).all()
