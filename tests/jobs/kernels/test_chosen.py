"""The n best of many scores, against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.chosen import near_best


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(st.integers(0, 2**32 - 1), st.integers(0, 2000), st.integers(1, 60), st.floats(0, 0.5), st.integers(1, 2000))
def test_all_that_reach_the_nth_best_less_the_noise_and_nothing_else(
    kind: type, seed: int, n_items: int, n: int, noise: float, n_values: int
) -> None:
    """Few values give ties, and some are out of the question."""
    random = np.random.default_rng(seed)
    scores = (random.integers(-n_values, n_values, n_items) / n_values).astype(kind)
    scores[random.random(n_items) < random.random()] = -np.inf
    left = np.sort(scores[scores > -np.inf])
    least = left[-n] - noise if len(left) >= n else -np.inf
    assert near_best(scores, n, noise=noise).tolist() == np.flatnonzero((scores >= least) & (scores > -np.inf)).tolist()
