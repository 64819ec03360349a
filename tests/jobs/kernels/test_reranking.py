"""Finishing: variety and calibration against a slow definition, on lists whose answer is obvious, and at their limits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.evaluation import list_metrics
from jobs.kernels.lists import recommend
from jobs.kernels.reasons import RANKED
from jobs.kernels.reranking import ALPHA, POOL, rerank, Reranking
from tests.jobs.kernels.worlds import histories, item_side, World, worlds


def unit(rows: np.ndarray) -> csr_matrix:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return csr_matrix(rows / np.where(norms > 0, norms, 1))


def plain(reranking: Reranking, genres: np.ndarray, history: list[int], strengths: list[float], scores: list[float]) -> list[int]:
    """The definition, written out; items are 0, 1, ... in the order of their scores."""
    n, d, c = len(scores), reranking.diversity, reranking.calibration
    rows = reranking.features.toarray()

    def shares(item: int) -> np.ndarray:
        return genres[item] / genres[item].sum() if genres[item].any() else genres[item] * 0.0

    p = sum((w * shares(item) for item, w in zip(history, strengths)), np.zeros(genres.shape[1]))
    p = p / p.sum() if p.sum() else p
    chosen: list[int] = []
    while len(chosen) < n:
        best, best_value = -1, -math.inf
        for i in set(range(n)) - set(chosen):
            worth = (scores[i] - scores[-1]) / (scores[0] - scores[-1]) if scores[0] > scores[-1] else 1.0
            value = (1 - d - c) * worth - d * max((rows[i] @ rows[j] for j in chosen), default=0.0)
            if p.any():
                q = sum(map(shares, [*chosen, i]))
                q = q / q.sum() if q.sum() else q
                value -= c * sum(p[g] * math.log(p[g] / ((1 - ALPHA) * q[g] + ALPHA * p[g])) for g in np.flatnonzero(p)) / -math.log(ALPHA)
            if value > best_value + 1e-12:
                best, best_value = i, value
        chosen.append(best)
    return chosen


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([(0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3), (1.0, 0.0), (0.0, 1.0)])
)
def test_it_is_the_definition(seed: int, n: int, weights: tuple[float, float]) -> None:
    draw = np.random.default_rng(seed)
    genres = (draw.random((n, 4)) < 0.5).astype(float)
    history = draw.integers(0, n, 3)
    reranking = Reranking(*weights, unit(draw.random((n, 5)) * (draw.random((n, 5)) < 0.6)))
    scores, strengths = np.sort(draw.random(n))[::-1], draw.random(3) + 0.1
    found = rerank(reranking, csr_matrix(genres), history, strengths, np.arange(n), scores)
    assert found.tolist() == plain(reranking, genres, history.tolist(), strengths.tolist(), scores.tolist())


def test_twins_do_not_stand_together() -> None:
    """The miniature: A and B are twins, C is like neither."""
    features, none = unit(np.array([[1.0, 0], [1, 0], [0, 1]])), np.zeros(0, int)
    genres = csr_matrix((3, 0))
    for diversity, expected in ((0.0, [0, 1, 2]), (0.5, [0, 2, 1])):
        reranking = Reranking(diversity, 0.0, features)
        assert rerank(reranking, genres, none, np.zeros(0), np.arange(3), np.array([1.0, 0.9, 0.0])).tolist() == expected


def test_calibration_brings_in_the_genre_that_the_history_has() -> None:
    """Half of the history is of the second genre, and all good scores are of the first."""
    genres = csr_matrix(np.array([[1.0, 0]] * 6 + [[0, 1]] * 4))
    history, scores = np.array([0, 9]), np.linspace(1, 0, 8)
    items = np.arange(1, 9)

    def first_four(calibration: float) -> np.ndarray:
        places = rerank(Reranking(0.0, calibration), genres, history, np.ones(2), items, scores)
        return items[places][:4]

    own = csr_matrix((np.ones(2), (np.zeros(2, int), history)), shape=(1, 10))
    before, after = (list_metrics.miscalibration(first_four(c)[None, :], own, genres)[0] for c in (0.0, 0.7))
    assert (first_four(0.0) < 6).all() and after < before / 2


@given(worlds(min_length=1), st.sampled_from([(0.4, 0.0), (0.0, 0.5), (0.3, 0.4)]), st.integers(1, 12))
def test_a_reranked_list_is_the_head_of_every_longer_one_and_has_the_same_scores_and_reasons(
    world: World, weights: tuple[float, float], n: int
) -> None:
    features = unit(np.random.default_rng(0).random((world.side.n_items, 4)))
    side = replace(world.side, reranking=Reranking(*weights, features))
    keywords = {"explain_n": 50, "reasons_n": 3, "min_history": 1}
    short, long = (recommend(side, world.histories, n=length, **keywords) for length in (n, n + 7))
    plainly = recommend(world.side, world.histories, n=world.side.n_items, **keywords)
    for k in range(len(world.histories)):
        a, b, c = (slice(lists.indptr[k], lists.indptr[k + 1]) for lists in (short, long, plainly))
        assert short.items[a].tolist() == long.items[b][: a.stop - a.start].tolist()
        scores = dict(zip(plainly.items[c].tolist(), plainly.scores[c].tolist()))
        assert all(scores[item] == pytest.approx(score) for item, score in zip(short.items[a].tolist(), short.scores[a].tolist()))
        ranked = short.tiers[a] == RANKED
        assert ((short.model_ranks[a] > 0) == ranked).all() and not plainly.model_ranks[c].any()
        by_model = plainly.items[c]
        assert all(by_model[rank - 1] == item for item, rank in zip(short.items[a][ranked], short.model_ranks[a][ranked]))
    totals = np.bincount(short.reason_rows, np.nan_to_num(short.contributions), len(short.items))
    np.testing.assert_allclose(totals, short.scores, rtol=1e-5, atol=1e-9)


def test_what_comes_after_the_pool_keeps_the_order_of_the_model() -> None:
    n = POOL + 20
    features = unit(np.random.default_rng(1).random((n, 3)))
    places = rerank(Reranking(0.5, 0.0, features), csr_matrix((n, 0)), np.zeros(0, int), np.zeros(0), np.arange(n), np.linspace(1, 0, n))
    assert sorted(places[:POOL].tolist()) == list(range(POOL)) and places[POOL:].tolist() == list(range(POOL, n))


@given(worlds(), st.data())
def test_nothing_blocked_is_in_a_list_whoever_asks(world: World, data: st.DataObject) -> None:
    blocked = np.array(sorted(data.draw(st.sets(st.integers(0, world.side.n_items - 1)))), np.int32)
    side, n = replace(world.side, blocked=blocked), world.side.n_items
    for min_history in (1, 10**6):
        for excluded in (None, np.array([0])):
            found = recommend(side, world.histories, n=n, explain_n=0, reasons_n=0, min_history=min_history, excluded=excluded)
            assert not np.isin(found.items, blocked).any()
            if excluded is None:
                for k in range(len(world.histories)):
                    had = set(world.histories.user(k).items.tolist()) | set(blocked.tolist())
                    assert found.indptr[k + 1] - found.indptr[k] == n - len(had)


def test_reranking_that_is_off_changes_nothing() -> None:
    side = item_side(np.random.default_rng(5), 30)
    rows = histories(np.random.default_rng(6), 30, [5, 3])
    keywords = {"n": 10, "explain_n": 10, "reasons_n": 2, "min_history": 1}
    plainly, off = recommend(side, rows, **keywords), recommend(replace(side, reranking=Reranking(0.0, 0.0)), rows, **keywords)
    assert plainly.items.tolist() == off.items.tolist()
