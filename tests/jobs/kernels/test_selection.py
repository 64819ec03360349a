"""The best of many scores, against a full sort: the order, what is left out, and which way a tie falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jobs.kernels.selection import best, best_among, near_best, of_candidates, top


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


def test_the_miniature_of_the_docstring() -> None:
    scores, place, none = np.array([[0.5, 0.9, 0.5]]), np.array([2, 1, 0]), np.zeros(0, np.int32)
    assert best(scores.copy(), np.array([0, 0]), none, place, 2).tolist() == [[1, 2]]
    assert best_among(scores, np.array([[0, 1, 2]]), np.array([0, 1]), np.array([2]), 2).tolist() == [[1, 0]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_best_is_a_sort_of_what_may_be_placed(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 4, (5, 9)).astype(np.float32)
    scores[draw.random(scores.shape) < 0.2] = -np.inf
    own = [np.flatnonzero(draw.random(9) < 0.3) for _ in scores]
    place = draw.permutation(9)
    expected = [
        sorted((i for i in range(9) if i not in mine and row[i] > -np.inf), key=lambda i: (-row[i], place[i]))[:k]
        for row, mine in zip(scores, own)
    ]
    found = best(scores, np.cumsum([0, *map(len, own)]), np.concatenate(own), place, k)
    assert [[i for i in row if i >= 0] for row in found.tolist()] == expected and found.shape == (5, k)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_tie_among_candidates_goes_against_what_should_be_found(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 3, (6, 10)).astype(np.float32)
    candidates = np.array([np.sort(draw.choice(10, 5, replace=False)) for _ in scores])
    relevant = np.array([draw.choice(row) for row in candidates])
    candidates[0, candidates[0] != relevant[0]] = -1
    found = best_among(of_candidates(scores, candidates), candidates, np.arange(7), relevant, k)
    for row, mine, wanted, of_user in zip(found, candidates, relevant, scores):
        others = [i for i in mine if i >= 0 and i != wanted]
        rank = 1 + sum(of_user[i] >= of_user[wanted] for i in others)
        assert (row.tolist().index(wanted) + 1 if wanted in row else None) == (rank if rank <= k else None)
        assert set(row[row >= 0]) <= set(mine) and (row >= 0).sum() == min(k, len(others) + 1)


def test_a_lower_tier_of_candidates_stands_first_whatever_the_scores() -> None:
    scores, tiers = np.array([[9.0, 1.0, 5.0, -np.inf]]), np.array([[2, 0, 2, 0]])
    assert best_among(scores, np.array([[4, 7, 8, -1]]), np.array([0, 1]), np.array([4]), 4, tiers=tiers).tolist() == [[7, 4, 8, -1]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_top_has_the_scores_of_a_sort(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 4, (5, 9)).astype(np.float32)
    scores[draw.random(scores.shape) < 0.3] = -np.inf
    for row, found in zip(scores, top(scores, k)):
        filled = found[found >= 0]
        assert len(set(filled.tolist())) == len(filled) and (np.diff(np.flatnonzero(found >= 0)) == 1).all()
        assert row[filled].tolist() == sorted(row[row > -np.inf].tolist(), reverse=True)[:k]
