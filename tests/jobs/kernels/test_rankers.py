"""Rankers: every kind scores by an exact sum over the history, and finds among all items those that can be in a list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels import lists
from jobs.kernels.factors import ExplicitFactors, gramian, ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import Lists, recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.rankers import Blend, Part, Ranker, WeightRanker
from jobs.kernels.reasons import RANKED
from jobs.kernels.weights import ItemWeights
from tests.jobs.kernels import plain
from tests.jobs.kernels.worlds import histories as drawn_histories, one_user

KINDS = ("factors", "weights", "blend", "rated blend")


def weights(draw: np.random.Generator, n_items: int) -> ItemWeights:
    dense = draw.normal(size=(n_items, n_items)) * (draw.random((n_items, n_items)) < 0.4)
    np.fill_diagonal(dense, 0)
    matrix = csr_matrix(dense.astype(np.float32))
    return ItemWeights(matrix.indptr.astype(np.int64), matrix.indices, matrix.data)


def ranker(kind: str, draw: np.random.Generator, n_items: int) -> Ranker | Part:
    factors = draw.normal(0, 0.7, (n_items, 4)).astype(np.float32)
    factors[draw.choice(n_items, n_items // 5, replace=False)] = 0
    by_factors = ImplicitFactors(factors, gramian(factors), 4.0, 0.1, half_life=5.0)
    by_weights, long = WeightRanker(weights(draw, n_items), 5.0), WeightRanker(weights(draw, n_items))
    by_ratings = explicit(draw, n_items)
    averaged = replace(by_ratings, item_variances=draw.random((n_items, 4), np.float32), ridge=np.array([0.5, 2.0, 1.0, 0.3]), n_blocks=2)
    rated = Blend(((1.0, by_weights), (0.5, long), (2.5, by_factors), (1.5, by_ratings)))
    blend = Blend(((1.0, by_weights), (2.5, by_factors)))
    kinds = {"factors": by_factors, "weights": by_weights, "blend": blend, "rated blend": rated, "explicit": by_ratings}
    return {**kinds, "averaged": averaged}[kind]


def explicit(draw: np.random.Generator, n_items: int, half_life: float = 5.0) -> ExplicitFactors:
    """A fifth of the items have no ratings in training, so neither factors nor a bias."""
    factors, biases = draw.normal(0, 0.7, (n_items, 4)).astype(np.float32), draw.normal(0, 0.4, n_items)
    nothing = draw.choice(n_items, n_items // 5, replace=False)
    factors[nothing], biases[nothing] = 0, 0
    return ExplicitFactors(factors, biases, 3.4, 5.0, 0.5, 5.0, 0.1, half_life)


@pytest.mark.parametrize("kind", [*KINDS, "explicit", "averaged"])
@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(1, 12))
def test_contributions_and_bias_sum_to_the_scores(kind: str, seed: int, n_items: int, length: int) -> None:
    draw = np.random.default_rng(seed)
    one, block = ranker(kind, draw, n_items), some_rated(draw, drawn_histories(draw, n_items, [length]))
    user, targets = one.fold_in(block.user(0)), np.arange(n_items)
    scores = one.scores(user, targets)
    shares = one.contributions(user, targets)
    np.testing.assert_allclose(shares.sum(axis=0) + one.biases(targets), scores, rtol=1e-9, atol=1e-9)
    if kind in ("explicit", "averaged"):
        assert not shares[np.isnan(block.ratings)].any()
    total = np.full((2, n_items), 0.5, np.float32)
    noise = one.add_scores([user, user], -2.0, total)
    assert (np.abs(total - (0.5 - 2.0 * scores)) <= noise[:, None] + 1e-6 * np.abs(total).max()).all()
    assert np.abs(scores[one.untrained]).max(initial=0) == 0
    np.testing.assert_allclose(one.all_scores(block)[0], scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "explicit", "averaged"])
def test_all_scores_of_a_block_are_those_of_each_user_and_the_biases_of_one_without_a_history(kind: str) -> None:
    draw = np.random.default_rng(4)
    one, block = ranker(kind, draw, 30), drawn_histories(draw, 30, [3, 0, 7])
    found = one.all_scores(block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1], one.biases(np.arange(30)), rtol=1e-6)
    for k in (0, 2):
        np.testing.assert_allclose(found[k], one.scores(one.fold_in(block.user(k)), np.arange(30)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(one.all_scores(block.block(1, 2))[0], found[1])


def some_rated(draw: np.random.Generator, block: Histories) -> Histories:
    """Rows with a rating and, more or fewer, events without one."""
    is_event = draw.random(len(block.items)) < draw.choice([0.0, 0.3, 1.0])
    return Histories(block.indptr, block.items, block.strengths, np.where(is_event, np.nan, block.ratings), block.moments)


@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(1, 12), st.sampled_from([np.inf, 5.0]))
def test_ratings_score_as_the_definition_says_and_as_they_are_predicted(seed: int, n_items: int, length: int, half_life: float) -> None:
    draw = np.random.default_rng(seed)
    part, history = explicit(draw, n_items, half_life), some_rated(draw, drawn_histories(draw, n_items, [length])).user(0)
    is_rated = ~np.isnan(history.ratings)
    left = np.array(plain.recency(history.moments.tolist(), half_life))[is_rated].tolist()
    items, ratings = history.items[is_rated].tolist(), history.ratings[is_rated].tolist()
    user, targets = part.fold_in(history), np.arange(n_items)
    x, user_bias = np.zeros(4), 0.0
    if items:
        _, x, user_bias, _ = plain.explicit_user(part.item_factors, part.item_biases, items, ratings, part.mu, part.reg, part.damping, left)
    scores = part.item_biases + part.item_factors.astype(float) @ x
    np.testing.assert_allclose(part.scores(user, targets), scores, rtol=1e-7, atol=1e-9)
    assert not part.scores(user, part.untrained).any()
    if half_life == np.inf:
        predicted = part.predict(part.posterior(*history.rated), targets)
        np.testing.assert_allclose(predicted, np.clip(part.mu + user_bias + scores, part.low, part.high), rtol=1e-7, atol=1e-9)


def test_a_low_rating_lowers_what_is_like_it_and_a_high_one_raises_it() -> None:
    """Items 0 and 1 are alike, item 2 is like neither. A blend in which ratings have a part follows them; weights alone cannot."""
    pair = csr_matrix(np.array([[0, 0.2, 0], [0.2, 0, 0], [0, 0, 0]], np.float32))
    beside = WeightRanker(ItemWeights(pair.indptr.astype(np.int64), pair.indices, pair.data))
    part = ExplicitFactors(np.array([[1, 0], [1, 0], [0, 1]], np.float32), np.zeros(3), 3.0, 1.0, 1.0, 5.0, 0.1)
    blend, scores = Blend(((1.0, beside), (1.0, part))), {}
    for rating in (1.0, 5.0):
        history = one_user([0], [0.25 + 0.75 * (rating - 1) / 4], [rating]).user(0)
        scores[rating] = blend.scores(blend.fold_in(history), np.array([1, 2]))
        assert (beside.scores(beside.fold_in(history), np.array([1])) > 0).all()
    assert scores[1.0][0] < scores[1.0][1] == 0 < scores[5.0][0]


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
        scores = one.scores(one.fold_in(block.user(k)), np.arange(n_items))
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
