"""Quality of lists beyond accuracy against slow definitions and tables computed by hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.evaluation import list_metrics


class Shop(NamedTuple):
    """A few items with features, genres and buyers, and what some users have and get."""

    features: np.ndarray
    genres: np.ndarray
    n_having: np.ndarray
    n_users: int
    lists: list[list[int]]
    expected: list[list[int]]
    held: list[set[int]]
    history: np.ndarray
    k: int


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    n_items = draw(st.integers(2, 10))
    counts = st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items)
    ranking = st.lists(st.integers(0, n_items - 1), max_size=6, unique=True)
    n_lists = draw(st.integers(1, 4))
    several = {"min_size": n_lists, "max_size": n_lists}
    return Shop(
        features=np.array(draw(st.lists(counts, min_size=1, max_size=4)), float).T,
        genres=np.array(draw(st.lists(st.lists(st.integers(0, 1), min_size=n_items, max_size=n_items), min_size=1, max_size=4))).T,
        n_having=np.array(draw(counts)),
        n_users=draw(st.integers(3, 9)),
        lists=draw(st.lists(ranking, **several)),
        expected=draw(st.lists(ranking, **several)),
        held=draw(st.lists(st.sets(st.integers(0, n_items - 1), max_size=4), **several)),
        history=np.array(draw(st.lists(counts, **several)), float),
        k=draw(st.integers(1, 6)),
    )


@given(st.lists(st.integers(0, 4), max_size=12))
def test_rare_items_are_the_four_fifths_that_the_fewest_have_and_those_that_nobody_has(n_having: list[int]) -> None:
    found = list_metrics.is_rare(np.array(n_having, int))
    known = [item for item, n in enumerate(n_having) if n]
    n_common = round(0.2 * len(known))
    common = sorted(known, key=lambda item: (-n_having[item], item))[:n_common]
    assert np.flatnonzero(~found).tolist() == sorted(common)


def padded(rows: list[list[int]], k: int) -> np.ndarray:
    return np.array([[*row[:k], *[-1] * (k - len(row[:k]))] for row in rows])


def hits_of(lists: np.ndarray, held: list[set[int]]) -> np.ndarray:
    return np.array([[item in own for item in row] for row, own in zip(lists.tolist(), held)])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / norms if norms else 0.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def plain_diversity(row: list[int], features: np.ndarray) -> float:
    return mean([1 - cosine(features[i], features[j]) for place, i in enumerate(row) for j in row[:place]])


def plain_serendipity(row: list[int], held: set[int], expected: list[int], features: np.ndarray | None, k: int) -> float:
    if not held:
        return math.nan
    total = 0.0
    for item in row:
        if item in held:
            near = [float(item == other) for other in expected]
            if features is not None:
                near += [cosine(features[item], features[other]) for other in expected if other != item]
            total += 1 - max(near, default=0.0)
    return total / k


def plain_genre_shares(weights: dict[int, float], genres: np.ndarray) -> list[float]:
    """p(g) of Steck 2018, equations 2 and 3."""
    total, sums = 0.0, [0.0] * genres.shape[1]
    for item, weight in weights.items():
        if weight and genres[item].any():
            total += weight
            for genre, has in enumerate(genres[item]):
                sums[genre] += weight * has / sum(genres[item])
    return [value / total for value in sums] if total else []


def plain_miscalibration(row: list[int], history: np.ndarray, genres: np.ndarray, alpha: float) -> float:
    p = plain_genre_shares(dict(enumerate(history)), genres)
    q = plain_genre_shares(dict.fromkeys(row, 1.0), genres)
    if not p or not q:
        return math.nan
    return sum(a * math.log(a / ((1 - alpha) * b + alpha * a)) for a, b in zip(p, q) if a)


def plain_gini(times: list[int]) -> float:
    """Half the relative mean difference of all ordered pairs."""
    differences = sum(abs(a - b) for a in times for b in times)
    return differences / (2 * len(times) * sum(times)) if sum(times) else math.nan


@given(shops())
def test_what_lists_show_of_the_catalogue_equals_its_definitions(shop: Shop) -> None:
    lists, n_items = padded(shop.lists, shop.k), len(shop.n_having)
    times = [sum(item in row[: shop.k] for row in shop.lists) for item in range(n_items)]
    found = list_metrics.times_recommended(lists, n_items)
    assert found.tolist() == times
    assert list_metrics.catalogue_coverage(found) == pytest.approx(len({i for row in shop.lists for i in row[: shop.k]}) / n_items)
    assert list_metrics.gini(found) == pytest.approx(plain_gini(times), abs=1e-12, nan_ok=True)


@given(shops())
def test_popularity_and_novelty_equal_their_definitions(shop: Shop) -> None:
    lists = padded(shop.lists, shop.k)
    shares = [count / shop.n_users for count in shop.n_having]
    expected = [mean([shares[item] for item in row[: shop.k]]) for row in shop.lists]
    assert list_metrics.mean_popularity(lists, shop.n_having, shop.n_users) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    bits = [-math.log2(max(count, 1) / shop.n_users) for count in shop.n_having]
    expected = [mean([bits[item] for item in row[: shop.k]]) for row in shop.lists]
    assert list_metrics.novelty(lists, shop.n_having, shop.n_users) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(shops())
def test_diversity_equals_its_definition(shop: Shop) -> None:
    found = list_metrics.intra_list_diversity(padded(shop.lists, shop.k), csr_matrix(shop.features))
    expected = [plain_diversity(row[: shop.k], shop.features) for row in shop.lists]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(shops())
def test_serendipity_equals_its_definition(shop: Shop) -> None:
    lists, n_held = padded(shop.lists, shop.k), np.array([len(own) for own in shop.held])
    hit, surely = hits_of(lists, shop.held), padded(shop.expected, 6)
    for features in (None, shop.features):
        sparse = None if features is None else csr_matrix(features)
        found = list_metrics.serendipity(lists, hit, n_held, surely, features=sparse)
        expected = [
            plain_serendipity(row[: shop.k], own, likely, features, shop.k)
            for row, own, likely in zip(shop.lists, shop.held, shop.expected)
        ]
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(shops())
def test_miscalibration_equals_its_definition(shop: Shop) -> None:
    lists = padded(shop.lists, shop.k)
    found = list_metrics.miscalibration(lists, csr_matrix(shop.history), csr_matrix(shop.genres))
    expected = [plain_miscalibration(row[: shop.k], own, shop.genres, 0.01) for row, own in zip(shop.lists, shop.history)]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert all(-1e-12 <= value <= -math.log(0.01) + 1e-12 for value in found if not math.isnan(value))


def test_a_table_computed_by_hand() -> None:
    """Three lists of two places over four items; item 0 is in two of them, item 3 in none."""
    lists = np.array([[0, 1], [0, 2], [1, -1]])
    times = list_metrics.times_recommended(lists, 4)
    assert times.tolist() == [2, 2, 1, 0]
    assert list_metrics.catalogue_coverage(times) == 3 / 4
    assert list_metrics.gini(times) == (-3 * 0 - 1 * 1 + 1 * 2 + 3 * 2) / (4 * 5)
    n_having = np.array([8, 4, 2, 1])
    assert list_metrics.mean_popularity(lists, n_having, 8).tolist() == [0.75, 0.625, 0.5]
    assert list_metrics.novelty(lists, n_having, 8).tolist() == [0.5, 1.0, 1.0]
    features = csr_matrix([[1, 0], [1, 1], [0, 2], [0, 0]])
    assert list_metrics.intra_list_diversity(lists, features) == pytest.approx([1 - math.sqrt(0.5), 1, math.nan], nan_ok=True)


def test_equal_shares_have_no_inequality_and_one_item_alone_has_the_most() -> None:
    assert list_metrics.gini(np.array([3, 3, 3, 3])) == 0
    assert list_metrics.gini(np.array([0, 0, 7, 0])) == 3 / 4
    assert math.isnan(list_metrics.gini(np.zeros(4, int))) and math.isnan(list_metrics.catalogue_coverage(np.zeros(0, int)))


def test_only_hits_that_popularity_would_not_give_are_serendipitous() -> None:
    lists, hit = np.array([[0, 1, 2, 3]]), np.array([[True, True, False, True]])
    found = list_metrics.serendipity(lists, hit, np.array([3]), np.array([[1, -1]]))
    assert found.tolist() == [2 / 4]
    alike = csr_matrix([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # item 0 is to 60 % what everybody gets
    found = list_metrics.serendipity(lists, hit, np.array([3]), np.array([[1, -1]]), features=alike)
    assert found == pytest.approx([(0.4 + 0 + 1) / 4])
    assert list_metrics.serendipity(lists, hit, np.array([3]), np.zeros((1, 0), int)).tolist() == [3 / 4]


def test_miscalibration_computed_by_hand() -> None:
    """History: half romance, half action, as 70 and 30 in Steck's example; the list is all romance."""
    genres = csr_matrix([[1, 0], [0, 1], [1, 1], [0, 0]])
    history = csr_matrix([[7.0, 3.0, 0, 0], [1.0, 1.0, 0, 5.0], [0, 0, 0, 1.0]])
    found = list_metrics.miscalibration(np.array([[0, -1], [2, 3], [0, 1]]), history, genres)
    all_romance = 0.7 * math.log(0.7 / (0.99 + 0.007)) + 0.3 * math.log(0.3 / 0.003)
    assert found == pytest.approx([all_romance, 0, math.nan], abs=1e-12, nan_ok=True)
    assert np.isnan(list_metrics.miscalibration(np.array([[0]]), history[:1], csr_matrix((4, 0)))).all()


def test_blocks_of_users_are_measured_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    features = csr_matrix(draw.integers(0, 2, (30, 5)))
    lists = np.array([draw.permutation(30)[:6] for _ in range(25)])
    whole = list_metrics.intra_list_diversity(lists, features)
    monkeypatch.setattr(list_metrics, "USERS_AT_ONCE", 7)
    assert (list_metrics.intra_list_diversity(lists, features) == whole).all()
