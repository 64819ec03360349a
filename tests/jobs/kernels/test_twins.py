"""Twins: of one thing under several ids a list names one, and none that the user has under another id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, strategies as st
from scipy.sparse import random_array

from jobs.kernels.lists import recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.rankers import Blend, WeightRanker
from jobs.kernels.reranking import Reranking
from jobs.kernels.twins import Twins
from jobs.kernels.weights import pruned, stacked
from tests.jobs.kernels.worlds import item_side, one_user, World, worlds

ASKED = {"explain_n": 0, "reasons_n": 0}


@st.composite
def paired(draw: st.DrawFn) -> tuple[World, Twins]:
    """A world of factors, of weights or of both, and groups of one to four of its items."""
    world = draw(worlds())
    n_items = world.side.n_items
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.integers(0, n_items // draw(st.integers(1, 3)), n_items)
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    matrix = random_array((n_items, n_items), density=0.5, rng=random).tocsr()
    matrix.setdiag(0)
    weights = WeightRanker(stacked([pruned(matrix.tocsr(), n_items)]))
    ranker = draw(st.sampled_from([world.side.ranker, weights, Blend(((1.0, weights), (0.5, world.side.ranker)))]))
    return World(replace(world.side, ranker=ranker), world.histories), Twins(first[group].astype(np.int32))


@given(paired(), st.sampled_from([1, 3, 10, 40]), st.sampled_from([1, 10**6]))
def test_lists_are_those_without_twins_less_what_is_named_or_had_already(found: tuple[World, Twins], n: int, min_history: int) -> None:
    """Against the definition: go down the list of all items, leave out what the user has or the list names under another id."""
    (side, histories), twins = (found[0].side, found[0].histories), found[1]
    whole = recommend(side, histories, n=side.n_items, min_history=min_history, **ASKED)
    lists = recommend(replace(side, twins=twins), histories, n=n, min_history=min_history, **ASKED)
    for k in range(len(histories)):
        taken, expected = {twins.first[item] for item in histories.user(k).items}, []
        for item in whole.items[whole.indptr[k] : whole.indptr[k + 1]].tolist():
            if twins.first[item] not in taken and len(expected) < n:
                taken.add(twins.first[item])
                expected.append(item)
        assert lists.items[lists.indptr[k] : lists.indptr[k + 1]].tolist() == expected


@given(paired(), st.sampled_from([1, 10**6]))
def test_a_list_does_not_depend_on_who_shares_its_block_and_keeps_its_scores(found: tuple[World, Twins], min_history: int) -> None:
    side, histories = replace(found[0].side, twins=found[1]), found[0].histories
    together = recommend(side, histories, n=5, min_history=min_history, **ASKED)
    for k in range(len(histories)):
        rows = slice(together.indptr[k], together.indptr[k + 1])
        alone = recommend(side, histories.block(k, k + 1), n=5, min_history=min_history, **ASKED)
        assert alone.items.tolist() == together.items[rows].tolist() and alone.scores.tolist() == together.scores[rows].tolist()
        pairs = score_items(side, histories.block(k, k + 1), alone.items[alone.tiers == 0], reasons_n=0, min_history=min_history)
        assert pairs.scores.tolist() == alone.scores[alone.tiers == 0].tolist()


def test_reranked_lists_and_lists_of_nobody_name_one_of_two() -> None:
    side = replace(item_side(np.random.default_rng(5), 12), twins=Twins(np.array([0, 0, 2, 3, 3, 3, 6, 7, 8, 9, 10, 10], np.int32)))
    for reranking in (None, Reranking(0.0, 0.5)):
        found = recommend(replace(side, reranking=reranking), one_user([1, 6], [1.0, 1.0], [4.0, 4.0]), n=12, min_history=1, **ASKED)
        assert len(found.items) == 6 and 0 not in found.items and len(set(side.twins.first[found.items].tolist())) == 6
    nobody = recommend(side, one_user([], [], []), n=12, min_history=1, **ASKED)
    assert len(nobody.items) == 8


def test_what_is_excluded_by_id_leaves_its_twin() -> None:
    """A double that somebody blocks is blocked because the other one should stand."""
    side = replace(item_side(np.random.default_rng(5), 6), twins=Twins(np.array([0, 0, 2, 3, 4, 5], np.int32)))
    for changed, keywords in (({"blocked": np.array([0], np.int32)}, {}), ({}, {"excluded": np.array([0])})):
        found = recommend(replace(side, **changed), one_user([2], [1.0], [4.0]), n=6, min_history=1, **keywords, **ASKED)
        assert sorted(found.items.tolist()) == [1, 3, 4, 5]


def test_a_miniature_and_no_twins_at_all() -> None:
    twins = Twins(np.array([0, 1, 2, 3, 4, 2], np.int32))
    has = twins.has(one_user([0, 5], [1.0, 1.0], [4.0, 4.0]))
    assert set(has.items.tolist()) == {0, 2, 5} and has.indptr.tolist() == [0, len(has.items)]
    assert np.array([5, 0, 2])[twins.once(np.array([5, 0, 2]))].tolist() == [5, 0] and twins.more(3) == 1
    assert set(twins.with_others(np.array([5, 1])).tolist()) == {1, 2, 5}
    for none in (Twins(), Twins(np.arange(6, dtype=np.int32))):
        rows = one_user([0, 5], [1.0, 1.0], [4.0, 4.0])
        assert none.has(rows) is rows and none.more(3) == 0 and none.once(rows.items).tolist() == [0, 1]
        assert none.with_others(rows.items) is rows.items
