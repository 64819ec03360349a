"""Fold-in and its attribution against the normal equations, written out in `plain`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose

from jobs.kernels.biases import centred
from jobs.kernels.factors import contributions, ExplicitFactors, gramian, ImplicitFactors
from jobs.kernels.histories import History
from tests.jobs.kernels import plain
from tests.jobs.kernels.worlds import HIGH, LOW, World, worlds

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # both sides are float64 solves of small systems


@given(worlds(min_length=1))
def test_an_implicit_fold_in_solves_the_normal_equations(world: World) -> None:
    ranker, history = world.side.ranker, world.history(0)
    _, x = plain.implicit_user(ranker.item_factors, list(history.items), list(history.strengths), ranker.alpha, ranker.reg)
    assert_allclose(ranker.posterior(history.items, history.strengths).x, x, **EXACT)


@given(worlds(min_length=1).filter(lambda world: world.side.rater is not None))
def test_an_explicit_fold_in_solves_the_normal_equations(world: World) -> None:
    rater, history = world.side.rater, world.history(0)
    _, x, user_bias, errors = plain.explicit_user(
        rater.item_factors, rater.item_biases, list(history.items), list(history.ratings), rater.mu, rater.reg, rater.damping
    )
    posterior = rater.posterior(history.items, history.ratings)
    assert_allclose(posterior.x, x, **EXACT)
    assert_allclose(posterior.constant, rater.mu + user_bias, **EXACT)
    assert_allclose(posterior.weights, errors, **EXACT)


@given(worlds(min_length=1))
def test_implicit_contributions_sum_to_the_score(world: World) -> None:
    ranker, history = world.side.ranker, world.history(0)
    targets = np.arange(world.side.n_items)
    posterior = ranker.posterior(history.items, history.strengths)
    shares = contributions(ranker.item_factors, posterior, history.items, targets)
    assert_allclose(shares.sum(axis=0), ranker.item_factors.astype(float) @ posterior.x, **EXACT)


@given(worlds(min_length=1))
def test_an_aged_history_is_solved_as_a_dense_solve_does_and_still_adds_up(world: World) -> None:
    ranker, history = world.side.ranker, world.histories.user(0)
    left = plain.recency(history.moments.tolist(), ranker.half_life)
    assert_allclose(history.recency(ranker.half_life), left, **EXACT)
    _, x = plain.implicit_user(ranker.item_factors, list(history.items), list(history.strengths), ranker.alpha, ranker.reg, left)
    user = ranker.fold_in(history)
    assert_allclose(user.posterior.x, x, rtol=1e-6, atol=1e-8)
    targets = np.arange(world.side.n_items)
    assert_allclose(ranker.contributions(user, targets).sum(axis=0), ranker.scores(user, targets), **EXACT)


@given(worlds(min_length=1).filter(lambda world: world.side.rater is not None))
def test_explicit_contributions_and_biases_sum_to_the_prediction(world: World) -> None:
    rater, history = world.side.rater, world.history(0)
    targets = np.arange(world.side.n_items)
    posterior = rater.posterior(history.items, history.ratings)
    shares = contributions(rater.item_factors, posterior, history.items, targets)
    total = posterior.constant + rater.item_biases + shares.sum(axis=0)
    assert_allclose(np.clip(total, LOW, HIGH), rater.predict(posterior, targets), **EXACT)


@given(worlds(min_length=1))
def test_each_contribution_is_the_share_that_the_equations_give_it(world: World) -> None:
    ranker, history = world.side.ranker, world.history(0)
    A, _ = plain.implicit_user(ranker.item_factors, list(history.items), list(history.strengths), ranker.alpha, ranker.reg)
    Y = ranker.item_factors.astype(float)
    inverse = np.linalg.inv(A)
    expected = [[Y[j] @ inverse @ Y[i] * (1 + ranker.alpha * s) for i in range(len(Y))] for j, s in zip(history.items, history.strengths)]
    posterior = ranker.posterior(history.items, history.strengths)
    assert_allclose(contributions(ranker.item_factors, posterior, history.items, np.arange(len(Y))), expected, rtol=1e-6, atol=1e-8)


@given(worlds(min_length=1), st.randoms(use_true_random=False))
def test_the_order_of_a_history_does_not_matter(world: World, random) -> None:
    history = world.history(0)
    order = list(range(len(history.items)))
    random.shuffle(order)
    ranker, rater = world.side.ranker, world.side.rater
    assert_allclose(
        ranker.posterior(history.items[order], history.strengths[order]).x, ranker.posterior(history.items, history.strengths).x, **EXACT
    )
    if rater is not None:
        assert_allclose(
            rater.posterior(history.items[order], history.ratings[order]).x, rater.posterior(history.items, history.ratings).x, **EXACT
        )


@given(worlds())
def test_predicted_ratings_are_inside_the_scale(world: World) -> None:
    if world.side.rater is None:
        return
    history = world.history(0)
    predicted = world.side.rater.predict(world.side.rater.posterior(history.items, history.ratings), np.arange(world.side.n_items))
    assert (predicted >= LOW).all() and (predicted <= HIGH).all()


@given(worlds())
def test_confidence_is_the_share_of_the_variance_that_the_history_removes(world: World) -> None:
    ranker, history = world.side.ranker, world.histories.user(0)
    found = ranker.confidence(history, np.arange(world.side.n_items))
    Y = ranker.item_factors.astype(float)
    prior = Y.T @ Y + ranker.reg * np.eye(Y.shape[1])
    known = prior + sum(ranker.alpha * s * np.outer(Y[j], Y[j]) for j, s in zip(history.items, history.strengths))
    assert (found >= 0).all() and (found <= 1).all()
    for i in np.flatnonzero(Y.any(axis=1)):
        before, after = (Y[i] @ np.linalg.inv(of) @ Y[i] for of in (prior, known))
        assert found[i] == pytest.approx(1 - after / before, abs=1e-7)


@given(worlds(min_length=1), st.data())
def test_confidence_in_no_item_falls_as_a_history_grows_and_in_what_is_rated_it_rises(world: World, data: st.DataObject) -> None:
    """Whatever row is added, in whatever moment: an old one, the newest, one of the same time."""
    ranker, history, everything = world.side.ranker, world.histories.user(0), np.arange(world.side.n_items)
    new = data.draw(st.sampled_from(everything.tolist()), label="item")
    strength, step = data.draw(st.floats(0.05, 8), label="strength"), data.draw(st.integers(0, 99), label="step")
    longer = History(
        np.append(history.items, np.int32(new)),
        np.append(history.strengths, strength),
        np.append(history.ratings, np.nan),
        np.append(history.moments, step),
    )
    before, after = (ranker.confidence(of, everything) for of in (history, longer))
    assert (after >= before - 1e-9).all()
    if ranker.item_factors[new].any():
        assert after[new] > before[new]


@given(worlds())
def test_centring_a_block_is_what_fold_in_does_for_each_user(world: World) -> None:
    if world.side.rater is None:
        return
    rater, block = world.side.rater, world.histories
    errors = centred(block.indptr, block.items, block.ratings, rater.mu, rater.item_biases, rater.damping).errors
    for k in range(len(block)):
        rows, history = slice(*block.indptr[k : k + 2]), world.history(k)
        assert_allclose(errors[rows], rater.posterior(history.items, history.ratings).weights, **EXACT)


def test_the_miniature_of_the_docstring() -> None:
    model = ImplicitFactors(np.eye(2, dtype=np.float32), np.eye(2), alpha=1.0, reg=0.0)
    posterior = model.posterior(np.array([0]), np.array([1.0]))
    assert_allclose(posterior.x, [1, 0])
    assert_allclose(contributions(model.item_factors, posterior, np.array([0]), np.array([0, 1])), [[1, 0]])
    history = History(np.array([0]), np.array([1.0]), np.array([np.nan]), np.array([0]))
    assert_allclose(model.confidence(history, np.array([0, 1])), [0.5, 0])


def test_the_gramian_adds_in_double_precision_over_its_blocks() -> None:
    factors = np.random.default_rng(0).normal(size=(65_536 + 1_000, 3)).astype(np.float32)
    assert_allclose(gramian(factors), factors.astype(float).T @ factors.astype(float), rtol=1e-12)


def test_a_user_without_ratings_is_the_mean_user() -> None:
    rater = ExplicitFactors(np.ones((2, 3), np.float32), np.array([0.5, -9.0]), 3.0, 5.0, LOW, HIGH, 0.1)
    nobody = rater.posterior(np.zeros(0, int), np.zeros(0))
    assert_allclose(rater.predict(nobody, np.array([0, 1])), [3.5, LOW])


def test_an_empty_implicit_history_has_no_solution() -> None:
    model = ImplicitFactors(np.zeros((2, 2), np.float32), np.zeros((2, 2)), alpha=1.0, reg=0.1)
    with pytest.raises(ValueError, match="raise the regularisation"):
        model.posterior(np.zeros(0, int), np.zeros(0))
