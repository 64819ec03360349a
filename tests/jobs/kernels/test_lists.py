"""Properties of every list, for any item side and any history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import Lists, POPULAR, POPULAR_GENRE, recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.reasons import BIAS, GENRE, HISTORY, RANKED, RESIDUAL
from tests.jobs.kernels import plain
from tests.jobs.kernels.worlds import HIGH, item_side, LOW, one_user, World, worlds

N, EXPLAIN_N, REASONS_N, MIN_HISTORY = 8, 5, 3, 3


def listed(world: World, *, n: int = N, excluded: np.ndarray | None = None, histories: Histories | None = None) -> Lists:
    return recommend(
        world.side,
        world.histories if histories is None else histories,
        n=n,
        explain_n=EXPLAIN_N,
        reasons_n=REASONS_N,
        min_history=MIN_HISTORY,
        excluded=excluded,
    )


def rows_of(lists: Lists, k: int) -> slice:
    return slice(lists.indptr[k], lists.indptr[k + 1])


def reasons_of(lists: Lists, row: int) -> list[tuple[int, int, int, float, float]]:
    """(position, kind, evidence, contribution, value) of one list row."""
    found = np.flatnonzero(lists.reason_rows == row)
    return [
        (int(lists.reason_positions[j]), int(lists.kinds[j]), int(lists.evidence[j]), float(lists.contributions[j]), float(lists.values[j]))
        for j in found
    ]


@given(worlds(), st.integers(1, 50))
def test_a_list_has_n_distinct_items_where_that_many_are_left(world: World, n: int) -> None:
    lists = listed(world, n=n)
    for k in range(len(world.histories)):
        items = lists.items[rows_of(lists, k)].tolist()
        left = world.side.n_items - len(world.history(k).items)
        assert len(set(items)) == len(items) == min(n, left)


@given(worlds(), st.sets(st.integers(0, 3)))
def test_nothing_that_the_user_has_and_nothing_excluded_is_listed(world: World, excluded: set[int]) -> None:
    lists = listed(world, excluded=np.array(sorted(excluded), np.int32))
    for k in range(len(world.histories)):
        assert not set(lists.items[rows_of(lists, k)].tolist()) & (set(world.history(k).items.tolist()) | excluded)


@given(worlds())
def test_a_list_is_ranked_then_popular_in_genres_then_popular_each_ordered_by_score_then_item(world: World) -> None:
    lists = listed(world)
    for k in range(len(world.histories)):
        rows = rows_of(lists, k)
        places = list(zip(lists.tiers[rows].tolist(), (-lists.scores[rows]).tolist(), lists.items[rows].tolist()))
        assert places == sorted(places)


@given(worlds(min_length=MIN_HISTORY))
def test_the_ranked_part_is_a_full_sort_of_the_scores(world: World) -> None:
    lists, ranker = listed(world), world.side.ranker
    for k in range(len(world.histories)):
        history = world.history(k)
        left = plain.recency(history.moments.tolist(), ranker.half_life)
        _, x = plain.implicit_user(ranker.item_factors, list(history.items), list(history.strengths), ranker.alpha, ranker.reg, left)
        scores = ranker.item_factors.astype(float) @ x
        expected = plain.ranked(scores.tolist(), N, set(history.items.tolist()) | set(world.side.ranker.untrained.tolist()))
        rows = rows_of(lists, k)
        is_ranked = lists.tiers[rows] == RANKED
        assert lists.items[rows][is_ranked].tolist() == expected
        assert_allclose(lists.scores[rows][is_ranked], scores[expected], rtol=1e-7, atol=1e-9)


@given(worlds(blends=True))
def test_a_block_of_users_is_each_user_alone(world: World) -> None:
    together = listed(world)
    for k in range(len(world.histories)):
        alone, rows = listed(world, histories=world.history(k)), rows_of(together, k)
        for name in ("items", "scores", "predicted", "confidence", "tiers"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[rows], err_msg=name)
        mine = (together.reason_rows >= rows.start) & (together.reason_rows < rows.stop)
        np.testing.assert_array_equal(alone.reason_rows + rows.start, together.reason_rows[mine])
        for name in ("reason_positions", "kinds", "evidence", "contributions", "values"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[mine], err_msg=name)


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_a_history_does_not_matter(world: World, random) -> None:
    history = world.history(0)
    order = list(range(len(history.items)))
    random.shuffle(order)
    straight, shuffled = (
        listed(world, histories=history),
        listed(world, histories=Histories(history.indptr, *(column[order] for column in history[1:5]))),
    )
    np.testing.assert_array_equal(straight.items, shuffled.items)
    for name in ("scores", "predicted", "confidence"):
        assert_allclose(getattr(straight, name), getattr(shuffled, name), rtol=1e-9, atol=1e-9)


@given(worlds(blends=True))
def test_the_contributions_of_a_row_sum_to_its_score(world: World) -> None:
    lists = listed(world)
    for k in range(len(world.histories)):
        rows = rows_of(lists, k)
        for row in range(rows.start, min(rows.start + EXPLAIN_N, rows.stop)):
            total = sum(share for *_, share, _ in reasons_of(lists, row) if not np.isnan(share))
            assert total == pytest.approx(lists.scores[row], rel=1e-9, abs=1e-9)


@given(worlds())
def test_each_of_the_first_rows_has_reasons_and_no_other_row(world: World) -> None:
    lists = listed(world)
    explained = set(lists.reason_rows.tolist())
    for k in range(len(world.histories)):
        rows = rows_of(lists, k)
        assert explained & set(range(rows.start, rows.stop)) == set(range(rows.start, min(rows.start + EXPLAIN_N, rows.stop)))


@given(worlds(blends=True))
def test_reasons_are_what_was_liked_and_raises_the_score_then_the_bias_the_rest_and_the_genre(world: World) -> None:
    lists, side = listed(world), world.side
    for row in sorted(set(lists.reason_rows.tolist())):
        history, reasons = world.history(int(lists.owners[row])), reasons_of(lists, row)
        kinds = [kind for _, kind, *_ in reasons]
        assert [position for position, *_ in reasons] == list(range(1, len(reasons) + 1))
        if lists.tiers[row] == RANKED:
            target = lists.items[row : row + 1]
            mean = (history.ratings.sum() + 5 * 3.4) / (len(history.items) + 5)
            shares = side.ranker.contributions(side.ranker.fold_in(history.user(0)), target)[:, 0]
            may = [share for share, rating in zip(shares, history.ratings) if share > 0 and not rating < mean]
            n_history = min(REASONS_N, len(may))
            assert [share for _, kind, _, share, _ in reasons if kind == HISTORY] == pytest.approx(sorted(may, reverse=True)[:REASONS_N])
            bias = float(side.ranker.biases(target)[0])
            expected = [HISTORY] * n_history + [BIAS] * (bias != 0) + [RESIDUAL] * (len(history.items) > n_history)
        else:
            expected = [BIAS]
        assert kinds in (expected, [*expected, GENRE])
        shares = [share for _, kind, _, share, _ in reasons if kind == HISTORY]
        assert shares == sorted(shares, reverse=True)
        for _, kind, evidence, share, value in reasons:
            if kind == HISTORY:
                place = history.items.tolist().index(evidence)
                np.testing.assert_equal(value, history.ratings[place])
            elif kind == BIAS and lists.tiers[row] == RANKED:
                assert (share, value) == (pytest.approx(bias), side.rater.item_biases[target[0]])
            elif kind == GENRE:
                assert np.isnan(share) and 0 < value <= 1 + 1e-6
                assert world.side.genres[lists.items[row], evidence] and world.side.genres[history.items][:, [evidence]].nnz
            elif kind == RESIDUAL:
                assert value == len(history.items) - n_history


@given(worlds(min_length=MIN_HISTORY, blends=True))
def test_a_score_that_is_split_over_the_whole_history_names_what_was_liked_first(world: World) -> None:
    history, target = world.history(0), np.array([0], np.int32)
    found = score_items(world.side, history, target, reasons_n=1000, min_history=1, is_whole=True)
    if found.tiers[0] != RANKED:
        return
    named = [(evidence, share) for _, kind, evidence, share, _ in reasons_of(found, 0) if kind == HISTORY]
    assert sorted(evidence for evidence, _ in named) == history.items.tolist() and RESIDUAL not in found.kinds
    total = sum(share for *_, share, _ in reasons_of(found, 0) if not np.isnan(share))
    assert total == pytest.approx(found.scores[0], rel=1e-9, abs=1e-9)
    liked = dict(zip(history.items.tolist(), world.side.is_liked(history).tolist()))
    is_first = [share > 0 and liked[evidence] for evidence, share in named]
    assert is_first == sorted(is_first, reverse=True)


@given(worlds())
def test_predictions_are_inside_the_scale_or_absent_where_nothing_is_rated(world: World) -> None:
    lists = listed(world)
    if world.side.rater is None:
        assert np.isnan(lists.predicted).all()
    else:
        assert (lists.predicted >= LOW).all() and (lists.predicted <= HIGH).all()


@given(worlds())
def test_confidence_is_a_share_where_a_model_ranked_and_absent_elsewhere(world: World) -> None:
    lists = listed(world)
    is_ranked = lists.tiers == RANKED
    assert ((lists.confidence[is_ranked] >= 0) & (lists.confidence[is_ranked] <= 1)).all()
    assert np.isnan(lists.confidence[~is_ranked]).all()


@given(worlds())
def test_a_short_history_gets_its_favourite_genres_before_what_is_popular(world: World) -> None:
    lists, side = listed(world), world.side
    for k in range(len(world.histories)):
        history, rows = world.history(k).items, rows_of(lists, k)
        if len(history) >= MIN_HISTORY:
            continue
        counts = side.genres.toarray()[history].sum(axis=0)
        favourites = sorted((g for g in range(len(counts)) if counts[g] > 0), key=lambda g: (-counts[g], g))[:3]
        has_favourite = side.genres.toarray()[:, favourites].any(axis=1)
        best = plain.ranked(side.popularity.tolist(), side.n_items, set(history.tolist()))
        expected = ([item for item in best if has_favourite[item]] + [item for item in best if not has_favourite[item]])[:N]
        assert lists.items[rows].tolist() == expected
        assert lists.tiers[rows].tolist() == [POPULAR_GENRE if has_favourite[item] else POPULAR for item in expected]


@given(worlds())
def test_items_that_nobody_had_in_training_are_never_ranked(world: World) -> None:
    lists = listed(world)
    assert not set(lists.items[lists.tiers == RANKED].tolist()) & set(world.side.ranker.untrained.tolist())


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_equal_items_are_listed_in_the_order_of_their_numbers_however_many_there_are(seed: int, n: int) -> None:
    """Hundreds of items share three vectors; wherever one stands in a block, it must score the same."""
    random = np.random.default_rng(seed)
    n_items, f = int(random.integers(50, 800)), int(random.integers(2, 48))
    factors = random.normal(size=(3, f)).astype(np.float32)[random.integers(0, 3, n_items)]
    ranker = ImplicitFactors(factors, gramian(factors), 4.0, 0.1)
    side = ItemSide(ranker, ranker, None, np.zeros(n_items), csr_matrix((n_items, 0), dtype=np.float32))
    own = np.sort(random.choice(n_items, 5, replace=False))
    lists = recommend(side, one_user(own, np.ones(5), np.full(5, np.nan)), n=n, explain_n=0, reasons_n=1, min_history=1)
    x = side.ranker.posterior(own, np.ones(5)).x
    scores = [float(np.einsum("f,f", row.astype(float), x)) for row in factors]
    assert lists.items.tolist() == plain.ranked([round(score, 12) for score in scores], n, set(own.tolist()))


def test_a_checkerboard_is_completed() -> None:
    """Even users have even items, odd users odd ones; the one square that a user lacks is what they get first."""
    n = 12
    board = np.array([[(u + i) % 2 == 0 for i in range(n)] for u in range(n)], float)
    left, size, right = np.linalg.svd(board, full_matrices=False)
    factors = (right[:2].T * np.sqrt(size[:2])).astype(np.float32)
    ranker = ImplicitFactors(factors, gramian(factors), 4.0, 0.01)
    side = ItemSide(ranker, ranker, None, np.zeros(n), csr_matrix((n, 0), dtype=np.float32))
    for user in range(n):
        own = np.flatnonzero(board[user])
        kept = own[own != own[user % len(own)]]
        lists = recommend(
            side, one_user(kept, np.ones(len(kept)), np.full(len(kept), np.nan)), n=3, explain_n=3, reasons_n=3, min_history=1
        )
        assert lists.items[0] == own[user % len(own)]
        assert lists.scores[0] > 0.5 > abs(lists.scores[1])
        first = [share for _, kind, _, share, _ in reasons_of(lists, 0) if kind == HISTORY]
        assert min(first) > 0


def test_an_unknown_user_gets_what_is_popular_with_everybody() -> None:
    side = replace(item_side(np.random.default_rng(1), 6), popularity=np.array([1.0, 5, 5, 0, 9, 2]))
    lists = recommend(side, one_user([], [], []), n=4, explain_n=4, reasons_n=3, min_history=3)
    assert (lists.items.tolist(), lists.tiers.tolist()) == ([4, 1, 2, 5], [POPULAR] * 4)
    assert [reasons_of(lists, row) for row in (0, 1)] == [
        [(1, BIAS, -1, 9.0, pytest.approx(np.nan, nan_ok=True))],
        [(1, BIAS, -1, 5.0, pytest.approx(np.nan, nan_ok=True))],
    ]


def test_a_user_who_has_everything_gets_an_empty_list() -> None:
    side = item_side(np.random.default_rng(2), 5)
    lists = recommend(side, one_user(range(5), np.ones(5), np.full(5, 3.0)), n=4, explain_n=2, reasons_n=2, min_history=3)
    assert lists.indptr.tolist() == [0, 0] and len(lists.items) == 0 and len(lists.reason_rows) == 0


def test_no_users_give_no_lists() -> None:
    side = item_side(np.random.default_rng(3), 5)
    lists = recommend(
        side,
        Histories(np.array([0]), np.zeros(0, np.int32), np.zeros(0), np.zeros(0), np.zeros(0, np.int64)),
        n=4,
        explain_n=2,
        reasons_n=2,
        min_history=3,
    )
    assert lists.indptr.tolist() == [0] and len(lists.items) == 0 and len(lists.kinds) == 0
