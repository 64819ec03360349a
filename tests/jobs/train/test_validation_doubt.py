"""Validation that contradicts sense: the run says so, and the verdict holds back with the sentence."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.kernels.evaluation.metrics import chance_ndcg, ndcg
from jobs.train.validation_doubt import doubt
from schemas.settings import resolve

N = 400


def values(mean: float, seed: int) -> np.ndarray:
    """nDCG@10 of N users, most of them 0, as where lists find little."""
    draw = np.random.default_rng(seed)
    found = draw.random(N) * (draw.random(N) < 0.2)
    return found * mean / found.mean()


@pytest.mark.parametrize(
    ("personal", "popular", "n_open", "said"),
    [
        (0.150, 0.080, 1_700, ""),
        (0.020, 0.004, 90_000, ""),
        (
            0.004,
            0.0005,
            40_981,
            "best model, ials, has nDCG@10 0.0040 over 400 users, lists by chance would have 0.0002; look at the times",
        ),
        (0.050, 0.070, 1_700, "best model, ials, has nDCG@10 0.0500 over 400 users, popular has 0.0700; look at the times"),
        (0.300, 0.290, 15, "lists by chance would have 0.5"),
    ],
)
def test_what_validation_may_not_say(personal: float, popular: float, n_open: int, said: str) -> None:
    ndcgs = {"ease": values(personal * 0.9, 1), "ials": values(personal, 2), "popular": values(popular, 3)}
    n_held = np.full(N, 7)
    found = doubt(ndcgs, chance_ndcg(np.full(N, n_open), n_held, 10), resolve({}, {}))
    assert (said in found) if said else found == ""


def test_a_few_users_say_too_little_to_doubt_anything() -> None:
    ndcgs = {"ease": np.zeros(29), "popular": np.full(29, 0.1)}
    assert doubt(ndcgs, np.full(29, 0.01), resolve({}, {})) == ""
    assert doubt(ndcgs, np.full(29, 0.01), resolve({"gate_users": 29}, {}))


def test_lists_by_chance_have_what_drawn_lists_have() -> None:
    """4 of 25 items were kept out: lists of 10 that are drawn, 4,000 times."""
    draw = np.random.default_rng(0)
    hit = np.array([draw.permutation(25)[:10] < 4 for _ in range(4_000)])
    expected = chance_ndcg(np.array([25]), np.array([4]), 10)[0]
    assert ndcg(hit, np.full(4_000, 4)).mean() == pytest.approx(expected, abs=0.01)
    assert np.isnan(chance_ndcg(np.array([25]), np.array([0]), 10)[0])
