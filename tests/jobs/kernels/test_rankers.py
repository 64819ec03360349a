"""Rankers: every kind scores by an exact sum over the history, and finds among all items those that can be in a list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels import lists
from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import Lists, recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.rankers import Blend, Ranker, WeightRanker
from jobs.kernels.reasons import RANKED
from jobs.kernels.weights import ItemWeights
from tests.jobs.kernels import plain
from tests.jobs.kernels.worlds import histories as drawn_histories

KINDS = ("factors", "weights", "blend")


def weights(draw: np.random.Generator, n_items: int) -> ItemWeights:
    dense = draw.normal(size=(n_items, n_items)) * (draw.random((n_items, n_items)) < 0.4)
    np.fill_diagonal(dense, 0)
    matrix = csr_matrix(dense.astype(np.float32))
    return ItemWeights(matrix.indptr.astype(np.int64), matrix.indices, matrix.data)


def ranker(kind: str, draw: np.random.Generator, n_items: int) -> Ranker:
    factors = draw.normal(0, 0.7, (n_items, 4)).astype(np.float32)
    factors[draw.choice(n_items, n_items // 5, replace=False)] = 0
    by_factors = ImplicitFactors(factors, gramian(factors), 4.0, 0.1, half_life=5.0)
    by_weights = WeightRanker(weights(draw, n_items), 5.0)
    return {"factors": by_factors, "weights": by_weights, "blend": Blend(((1.0, by_weights), (2.5, by_factors)))}[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(1, 12))
def test_contributions_sum_to_the_scores(kind: str, seed: int, n_items: int, length: int) -> None:
    draw = np.random.default_rng(seed)
    one, block = ranker(kind, draw, n_items), drawn_histories(draw, n_items, [length])
    user, targets = one.fold(block.user(0)), np.arange(n_items)
    scores = one.scores(user, targets)
    np.testing.assert_allclose(one.contributions(user, targets).sum(axis=0), scores, rtol=1e-9, atol=1e-9)
    total = np.full((2, n_items), 0.5, np.float32)
    noise = one.add_scores([user, user], -2.0, total)
    assert (np.abs(total - (0.5 - 2.0 * scores)) <= noise[:, None] + 1e-6 * np.abs(total).max()).all()
    assert np.abs(scores[one.untrained]).max(initial=0) == 0


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(1, 20))
def test_a_list_is_a_full_sort_however_long_it_is(kind: str, seed: int, n_items: int, lengths: list[int], n: int) -> None:
    """So the head of a long list is the short list: pages never repeat and never skip."""
    draw = np.random.default_rng(seed)
    one, block = ranker(kind, draw, n_items), drawn_histories(draw, n_items, lengths)
    side = ItemSide(one, None, None, np.zeros(n_items), csr_matrix((n_items, 0), dtype=np.float32))
    found = recommend(side, block, n=n, explain_n=n, reasons_n=2, min_history=1)
    for k in range(len(block)):
        rows = slice(found.indptr[k], found.indptr[k + 1])
        is_ranked = found.tiers[rows] == RANKED
        scores = one.scores(one.fold(block.user(k)), np.arange(n_items))
        silent = set(one.untrained.tolist()) | (set(np.flatnonzero(scores == 0).tolist()) if kind != "factors" else set())
        expected = plain.ranked(scores.tolist(), n, set(block.user(k).items.tolist()) | silent)
        assert found.items[rows][is_ranked].tolist() == expected
        pairs = score_items(side, block.block(k, k + 1), np.array(expected, np.int32), reasons_n=2, min_history=1)
        np.testing.assert_allclose(pairs.scores, found.scores[rows][is_ranked])


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.lists(st.integers(0, 8), min_size=2, max_size=6), st.integers(1, 20))
def test_a_list_does_not_depend_on_who_shares_the_block(kind: str, seed: int, n_items: int, lengths: list[int], n: int) -> None:
    """To the last bit: all users in one block, each in a block of their own, and each asked for alone."""
    draw = np.random.default_rng(seed)
    one, block = ranker(kind, draw, n_items), drawn_histories(draw, n_items, lengths)
    genres = csr_matrix((draw.random((n_items, 3)) < 0.4).astype(np.float32))
    side = ItemSide(one, None, None, draw.random(n_items), genres)
    settings = {"n": n, "explain_n": n, "reasons_n": 2, "min_history": 2}
    together = recommend(side, block, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "CELLS", 1)
        apart = recommend(side, block, **settings)
    alone = [recommend(side, block.block(k, k + 1), **settings) for k in range(len(block))]
    for name in Lists._fields:
        np.testing.assert_array_equal(getattr(together, name), getattr(apart, name), err_msg=name)
    for name in set(Lists._fields) - {"indptr", "reason_rows"}:
        np.testing.assert_array_equal(getattr(together, name), np.concatenate([getattr(a, name) for a in alone]), err_msg=name)
