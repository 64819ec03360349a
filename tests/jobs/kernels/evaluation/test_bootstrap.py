"""Intervals: how often they hold the truth, what they are of constant values, and what they say of two models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.evaluation import bootstrap
from jobs.kernels.evaluation.bootstrap import mean_interval, paired_difference

values_of_users = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(st.floats(0, 1), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_the_interval_of_constant_values_is_that_value(value, n, seed) -> None:
    assert mean_interval(np.full(n, value), seed=seed, n_resamples=20) == (value, value, value, n)


@given(values_of_users, st.integers(0, 2**32 - 1))
def test_an_interval_repeats_by_seed_and_lies_within_the_values(values, seed) -> None:
    found = mean_interval(values, seed=seed, n_resamples=50)
    assert found == mean_interval(values, seed=seed, n_resamples=50)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12


@given(values_of_users, st.integers(0, 2**32 - 1))
def test_equal_weights_are_no_weights(values, seed) -> None:
    plain = mean_interval(values, seed=seed, n_resamples=50)
    weighted = mean_interval(values, seed=seed, weights=np.full(len(values), 3.0), n_resamples=50)
    assert weighted == pytest.approx(plain, abs=1e-12)


def test_the_interval_is_the_middle_of_means_of_users_drawn_one_by_one() -> None:
    values, weights, n_resamples = np.array([0.0, 0.25, 1.0, 0.5]), np.array([1, 4, 2, 1]), 200
    draw, means = np.random.default_rng(5), []
    for _ in range(n_resamples):
        drawn = [int(draw.integers(0, 4, dtype=np.int32)) for _ in range(4)]
        means.append(sum(weights[i] * values[i] for i in drawn) / sum(weights[i] for i in drawn))
    found = mean_interval(values, seed=5, weights=weights, n_resamples=n_resamples)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-12)
    assert found.mean == pytest.approx((0.25 * 4 + 1 * 2 + 0.5) / 8)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    """Beta(0.5, 2) is shaped as nDCG is, with many near 0; its mean is 0.2. 300 samples: 95 % give or take 4."""
    draw, n_samples = np.random.default_rng(11), 300
    held = 0
    for seed in range(n_samples):
        found = mean_interval(draw.beta(0.5, 2.0, 200), seed=seed, n_resamples=400)
        held += found.low <= 0.2 <= found.high
    assert 0.91 <= held / n_samples <= 0.99


def test_more_users_make_a_narrower_interval() -> None:
    values = np.random.default_rng(2).random(10_000)
    widths = [(found.high - found.low) for found in (mean_interval(values[:n], seed=1) for n in (100, 10_000))]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.15)
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 10_000), rel=0.1)


def test_users_without_a_value_or_weight_are_not_counted() -> None:
    assert mean_interval(np.array([np.nan, 0.5, 0.5]), seed=1) == (0.5, 0.5, 0.5, 2)
    assert mean_interval(np.array([9.0, 0.5]), weights=np.array([0, 2]), seed=1) == (0.5, 0.5, 0.5, 1)
    nobody = mean_interval(np.array([np.nan]), seed=1)
    assert nobody.n == 0 and all(map(math.isnan, nobody[:3]))


def test_what_is_drawn_at_once_does_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(37)
    whole = mean_interval(values, seed=8, n_resamples=100)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 80)
    assert mean_interval(values, seed=8, n_resamples=100) == whole


def planted(shift: float, *, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """A challenger that is better by the shift on the mean of users who differ far more among themselves."""
    draw = np.random.default_rng(21)
    champion = draw.random(n)
    return champion + shift + draw.normal(0, 0.05, n), champion


@pytest.mark.parametrize(
    ("shift", "is_non_inferior", "is_better"),
    [
        (0.02, True, True),
        (0.0, True, False),
        (-0.002, True, False),
        (-0.009, False, False),
        (-0.01, False, False),
        (-0.05, False, False),
    ],
)
def test_planted_differences_are_found(shift, is_non_inferior, is_better) -> None:
    found = paired_difference(*planted(shift), seed=1, margin=0.01)
    assert found.low < shift < found.high
    assert found.difference == pytest.approx(shift, abs=0.004)
    assert (found.is_non_inferior, found.is_better, found.n) == (is_non_inferior, is_better, 2000)


def test_pairs_tell_apart_what_two_separate_intervals_cannot() -> None:
    challenger, champion = planted(0.01)
    assert mean_interval(challenger, seed=1).low < mean_interval(champion, seed=1).high
    assert paired_difference(challenger, champion, seed=1, margin=0.0).is_better


def test_the_same_lists_are_no_worse_even_without_a_margin_to_spare() -> None:
    values = np.random.default_rng(1).random(50)
    found = paired_difference(values, values, seed=1, margin=1e-9)
    assert found == (0, 0, 0, 50, True, False)


def test_only_users_with_both_values_are_compared_and_nobody_proves_nothing() -> None:
    found = paired_difference(np.array([1.0, np.nan, 0.5]), np.array([0.5, 0.5, np.nan]), seed=1, margin=0.01)
    assert found == (0.5, 0.5, 0.5, 1, True, True)
    found = paired_difference(np.array([np.nan]), np.array([0.5]), seed=1, margin=0.01)
    assert found.n == 0 and not found.is_non_inferior and not found.is_better
    with pytest.raises(ValueError, match="same users are needed: got 2 of the challenger, 3"):
        paired_difference(np.zeros(2), np.zeros(3), seed=1, margin=0.01)
