"""User neighbours against a slow definition, and the reasons that are made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import recommend
from jobs.kernels.rankers import WeightRanker
from jobs.kernels.reasons import HISTORY, RESIDUAL, similar_user_reasons, SIMILAR_USERS
from jobs.kernels.user_neighbours import ReferenceUsers, who_have
from jobs.kernels.weights import ItemWeights
from jobs.recommend.step import _details


def others_of(dense: np.ndarray, ratings: np.ndarray | None = None, **named: float) -> ReferenceUsers:
    matrix = csr_matrix(dense.astype(np.float32))
    known = np.full(matrix.nnz, np.nan) if ratings is None else ratings[dense > 0]
    return ReferenceUsers(matrix.indptr, matrix.indices, matrix.data, known, dense.shape[1], **named)


def slow(dense: np.ndarray, query: np.ndarray, k: int) -> list[tuple[float, int]]:
    """(cosine, user) of the k nearest, ties to the earlier."""
    lengths = np.linalg.norm(dense, axis=1) * np.linalg.norm(query)
    cosines = np.divide(dense @ query, lengths, out=np.zeros(len(dense)), where=lengths > 0)
    return sorted(((c, v) for v, c in enumerate(cosines) if c > 0), key=lambda one: (-round(one[0], 5), one[1]))[:k]


def test_the_miniature_of_the_docstring() -> None:
    others = others_of(np.array([[1, 1, 0], [0, 1, 1]]))
    nearest = others.nearest(csr_matrix(np.array([[1.0, 0, 0]], np.float32)), 1)
    assert nearest.toarray() == pytest.approx(np.array([[0.5**0.5, 0]]))
    assert others.scores(nearest) == pytest.approx(np.array([[0.5, 0.5, 0]]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_it_is_its_definition(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    dense = draw.integers(0, 3, (6, 5)) * (draw.random((6, 5)) < 0.7)
    queries = draw.integers(0, 3, (3, 5)).astype(float)
    ratings = np.where(draw.random(dense.shape) < 0.8, draw.integers(1, 6, dense.shape), np.nan)
    others = others_of(dense, ratings)
    nearest = others.nearest(csr_matrix(queries.astype(np.float32)), k)
    scores = others.scores(nearest)
    users, items = np.repeat(np.arange(3), 5), np.tile(np.arange(5), 3)
    n, means = who_have(others, csr_matrix(queries.astype(np.float32)), k, users, items)
    for u, query in enumerate(queries):
        near = slow(dense, query, k)
        assert nearest[u].nnz == len(near)
        # Which of equals is taken may differ where float32 tells apart what is equal; sums over all equals do not.
        if len({round(c, 5) for c, _ in near}) == len(near) and k >= 6:
            expected = sum((c * dense[v] / np.linalg.norm(dense[v]) for c, v in near), np.zeros(5))
            assert scores[u] == pytest.approx(expected, abs=1e-5)
        if k >= 6:
            for i in range(5):
                having = [v for _, v in near if dense[v, i] > 0]
                assert n[u * 5 + i] == len(having)
                rated = [ratings[v, i] for v in having if not np.isnan(ratings[v, i])]
                assert means[u * 5 + i] == pytest.approx(np.mean(rated), nan_ok=True) if rated else np.isnan(means[u * 5 + i])


def test_an_empty_history_is_like_nobody() -> None:
    others = others_of(np.array([[1, 1, 0], [0, 1, 1]]))
    nearest = others.nearest(csr_matrix((1, 3), dtype=np.float32), 2)
    assert nearest.nnz == 0 and not others.scores(nearest).any()
    assert others_of(np.array([[1, 0, 0]])).untrained.tolist() == [1, 2]


def test_lists_say_how_many_similar_users_have_an_item() -> None:
    """Three users share items 0 and 1 with the history; two of them have item 2, rated 4 and 5, and nobody has item 3."""
    dense = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0]])
    others = others_of(dense, np.array([[3, 3, 4, 0], [3, 3, 5, 0], [3, 3, 0, 0]], float), n_neighbours=2)
    W = ItemWeights(np.array([0, 2, 2, 2, 2]), np.array([2, 3], np.int32), np.array([1.0, 0.5], np.float32))
    side = ItemSide(WeightRanker(W), None, None, np.zeros(4), csr_matrix((4, 0), dtype=np.float32), others)
    history = Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2), np.full(2, np.nan), np.array([0, 1]))
    lists = recommend(side, history, n=2, explain_n=2, reasons_n=1, min_history=1)
    assert lists.items.tolist() == [2, 3]
    is_similar = lists.kinds == SIMILAR_USERS
    assert lists.reason_rows[is_similar].tolist() == [0] and np.isnan(lists.contributions[is_similar]).all()
    # The two nearest are the third user, who has what the history has and no more, and the first of the others.
    assert lists.evidence[is_similar].tolist() == [1] and lists.values[is_similar].tolist() == [4.0]
    assert lists.reason_positions[is_similar].tolist() == [lists.reason_positions[lists.reason_rows == 0].max()]
    sums = np.bincount(lists.reason_rows, np.nan_to_num(lists.contributions), 2)
    assert sums == pytest.approx(lists.scores)
    plain = recommend(replace(side, others=None), history, n=2, explain_n=2, reasons_n=1, min_history=1)
    np.testing.assert_array_equal(plain.scores, lists.scores)


def test_similar_users_are_those_of_the_latest_rows_where_older_ones_fade() -> None:
    """By strength alone the history is as near to both users; the one who has its last item is nearer to what it likes now."""
    others = others_of(np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), np.array([[3, 0, 4, 0], [0, 3, 0, 5]], float), n_neighbours=1, half_life=1.0)
    history = Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2), np.full(2, np.nan), np.array([0, 3]))
    rows, n, means = similar_user_reasons(others, history, np.array([0, 0]), np.array([2, 3]))
    assert (rows.tolist(), n.tolist(), means.tolist()) == ([1], [1], [5.0])


def test_details_of_similar_users_are_json() -> None:
    kinds = np.array([SIMILAR_USERS, SIMILAR_USERS, HISTORY, RESIDUAL, HISTORY])
    is_own = np.array([False, False, False, False, True])
    found = _details(kinds, np.array([12, 3, 7, -1, 8]), np.array([4.25, np.nan, 3.5, 9.0, 5.0]), is_own=is_own).to_pylist()
    assert list(map(json.loads, found)) == [{"n": 12, "mean_rating": 4.25}, {"n": 3}, {"rating": 3.5}, {"n": 9}, {"n": 5}]
