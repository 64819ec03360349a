"""The population stability index: zero, symmetry, worked values, and what chance gives."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.evaluation import drift
from jobs.kernels.evaluation.drift import population_stability_index as psi

COUNTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=12)


@given(COUNTS)
def test_it_is_never_negative_the_same_both_ways_and_zero_for_the_same_shares(pairs: list[tuple[int, int]]) -> None:
    before, now = map(np.array, zip(*pairs))
    assert psi(before, now) >= 0 and psi(before, now) == pytest.approx(psi(now, before))
    assert psi(before, before) == 0


def test_worked_values() -> None:
    assert doctest.testmod(drift).failed == 0 and doctest.testmod(drift).attempted == 1
    assert psi(np.array([100, 0]), np.array([0, 100])) == pytest.approx(2 * (100 / 101) * np.log(201), rel=1e-3)


def test_chance_alone_gives_about_the_bins_less_one_over_the_counts() -> None:
    draw = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [psi(draw.multinomial(10**6, shares), draw.multinomial(500, shares)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(9 / 500, rel=0.2)
