"""The generated sample: the same every time, and built like the real thing."""

from __future__ import annotations

import hashlib
from datetime import datetime, UTC

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs.sources.sample import open_sample, PART_ROWS, RECORD, Sample
from jobs.sources.sample_films import LARGE, make_films, MIDDLE, sizes
from jobs.sources.sample_ratings import CELL_USERS, counts_of_users, MAX_SHARE, rating_cells
from jobs.sources.sample_words import GENRES

LATEST = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    return open_sample(tmp_path_factory.mktemp("sample"), seed=42, scale=1.0, latest=LATEST)


@pytest.fixture(scope="module")
def columns(sample) -> dict[str, np.ndarray]:
    """The ratings in order of user and time, ids as they are."""
    batches = list(sample.interactions())
    assert all(batch.refused.num_rows == 0 and batch.n_read == batch.accepted.num_rows for batch in batches)
    table = pa.concat_tables(batch.accepted for batch in batches)
    return {name: table[name].to_numpy() for name in table.column_names}


def digests(sample: Sample) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sample.inputs]


def test_sizes_are_those_promised(sample, columns):
    assert len(columns["user_id"]) == 150_000 and len(np.unique(columns["user_id"])) == 2_000
    assert sample.catalogue().items.num_rows == 1_200
    assert sizes(MIDDLE[2] / 150_000) == MIDDLE
    assert sizes(LARGE[2] / 150_000) == LARGE and sizes(100_000_000 / 150_000)[::2] == (
        1_000_000,
        100_000_000,
    )
    grown = [sizes(scale) for scale in (0.05, 0.3, 1, 1.5, 20, 213, 214, 1000)]
    assert all(a < b for low, high in zip(grown, grown[1:], strict=False) for a, b in zip(low, high, strict=True))


def test_the_same_seed_gives_the_same_bytes(sample, tmp_path):
    again = open_sample(tmp_path, seed=42, scale=1.0, latest=LATEST)
    other = open_sample(tmp_path, seed=43, scale=1.0, latest=LATEST)
    assert digests(again) == digests(sample) != digests(other)


def test_it_is_made_once_and_again_where_it_is_damaged(tmp_path):
    first = open_sample(tmp_path, seed=1, scale=0.1, latest=LATEST)
    before = digests(first)
    marks = [path.stat().st_mtime_ns for path in first.inputs]
    assert [path.stat().st_mtime_ns for path in open_sample(tmp_path, seed=1, scale=0.1, latest=LATEST).inputs] == marks
    first.inputs[1].write_bytes(b"cut short")
    assert digests(open_sample(tmp_path, seed=1, scale=0.1, latest=LATEST)) == before
    (first.folder / RECORD).unlink()
    assert digests(open_sample(tmp_path, seed=1, scale=0.1, latest=LATEST)) == before
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]


def test_a_user_does_not_depend_on_the_users_after(sample):
    films, _ = make_films(500, 7)
    counts = counts_of_users(CELL_USERS + 500, 500, 100_000, 7)
    whole = list(rating_cells(films, counts, 7))
    assert whole[0].equals(next(rating_cells(films, counts[:CELL_USERS], 7))) and len(whole) == 2


def test_ratings_are_sound(sample, columns):
    users, items, ratings, times = (columns[name] for name in ("user_id", "item_id", "rating", "rated_at"))
    assert len(np.unique(users * 10_000 + items)) == len(users)
    assert set(np.unique(ratings)) == set(np.arange(1, 11) / 2)
    assert (np.diff(users) >= 0).all() and (np.diff(times)[np.diff(users) == 0] >= 0).all()
    years = sample.catalogue().items["year"].to_numpy()
    assert (years[items - 1] <= times.astype("datetime64[s]").astype("datetime64[Y]").astype(int) + 1970).all()
    counts = np.bincount(users)[1:]
    assert counts.min() >= 15 and counts.max() <= MAX_SHARE * 1_200 + 1


def test_popularity_is_skewed_and_some_films_are_cold(columns):
    counts = np.sort(np.bincount(columns["item_id"], minlength=1_201)[1:])[::-1]
    assert 0.4 < counts[0] / 2_000 < 0.75
    assert counts[:120].sum() > 0.3 * counts.sum() and counts[600:].sum() < 0.2 * counts.sum()
    assert 5 <= (counts == 0).sum() <= 60


def test_users_and_films_have_biases(columns):
    ratings, mean = columns["rating"], columns["rating"].mean()
    assert 3.3 < mean < 3.8 and 0.9 < ratings.std() < 1.15
    for name in ("user_id", "item_id"):
        n = np.bincount(columns[name])
        means = np.bincount(columns[name], ratings)[n > 30] / n[n > 30]
        assert 0.25 < means.std() < 0.6


def test_ratings_come_in_sittings(columns):
    gaps = np.diff(columns["rated_at"])[np.diff(columns["user_id"]) == 0]
    assert 0.85 < (gaps < 600).mean() < 0.97 and (gaps > 86_400).mean() > 0.02


def test_tastes_drift(sample, columns):
    """The genres at the end of a long history are more like those just before than like those at its
    beginning."""
    genres = [row.split("|") for row in sample.catalogue().items["genres"].to_pylist()]
    flags = np.array([[genre in row for genre in GENRES] for row in genres], dtype=float)[columns["item_id"] - 1]
    nearer = []
    for user in np.flatnonzero(np.bincount(columns["user_id"]) >= 100):
        own = flags[columns["user_id"] == user]
        first, middle, last = (part.mean(axis=0) for part in np.array_split(own, 3))
        nearer.append(np.linalg.norm(last - middle) < np.linalg.norm(last - first))
    assert np.mean(nearer) > 0.6


def test_the_catalogue_looks_right(sample):
    items = sample.catalogue().items
    titles, years = items["title"].to_pylist(), items["year"].to_pylist()
    assert len(set(titles)) == len(titles)
    assert all(title.endswith(f" ({year})") and title[0].isupper() and len(title) < 80 for title, year in zip(titles, years, strict=True))
    assert all(0 < len(row.split("|")) <= 3 and set(row.split("|")) <= set(GENRES) for row in items["genres"].to_pylist())
    assert 0.5 < np.mean([bool(row) for row in items["tags"].to_pylist()]) < 0.95


def test_titles_stay_unique_at_the_size_of_movielens():
    _, items = make_films(LARGE[1], 42)
    assert len(set(items["title"].to_pylist())) == LARGE[1]


def test_a_personal_model_beats_popularity(columns):
    """Neighbours by cosine, on the last fifth of each history; and biases predict ratings better than the
    mean does."""
    users, items, ratings = columns["user_id"] - 1, columns["item_id"] - 1, columns["rating"]
    n = np.bincount(users)
    position = np.arange(len(users)) - np.repeat(np.cumsum(n) - n, n)
    is_test = (position >= 0.8 * n[users]) & (users % 4 == 0)
    history = sp.csr_array((np.ones((~is_test).sum()), (users[~is_test], items[~is_test])), shape=(2_000, 1_200))
    wanted = sp.csr_array((np.ones(is_test.sum()), (users[is_test], items[is_test])), shape=(2_000, 1_200)).toarray()[::4]
    seen = history.toarray()[::4]
    norms = np.sqrt(np.maximum(history.sum(axis=0), 1))
    cosine = (history.T @ history).toarray() / np.outer(norms, norms)
    np.fill_diagonal(cosine, 0)
    popular = ndcg(np.tile(np.asarray(history.sum(axis=0)), (500, 1)), seen, wanted)
    personal = ndcg(seen @ cosine, seen, wanted)
    assert personal > 1.35 * popular, (personal, popular)

    mean, means = ratings[~is_test].mean(), {}
    residual = ratings - mean
    for name, ids in (("item", items), ("user", users)):
        sums = np.bincount(ids[~is_test], residual[~is_test], 2_000)
        means[name] = (sums / (np.bincount(ids[~is_test], minlength=2_000) + 5))[ids]
        residual = residual - means[name]
    assert rmse(residual[is_test]) < 0.88 * rmse(ratings[is_test] - mean)


def ndcg(scores: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> float:
    """nDCG@10, rows of users."""
    top = np.argsort(-(scores - 1e9 * seen), axis=1, kind="stable")[:, :10]
    gains = np.take_along_axis(wanted, top, axis=1) / np.log2(np.arange(2, 12))
    ideal = np.cumsum(1 / np.log2(np.arange(2, 12)))[np.minimum(wanted.sum(axis=1), 10).astype(int) - 1]
    return float((gains.sum(axis=1) / ideal).mean())


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def test_many_parts_are_one_table(tmp_path):
    sample = open_sample(tmp_path, seed=42, scale=24.0, latest=LATEST)
    assert len(sample.inputs) == 1 + 3 and PART_ROWS < 24 * 150_000 / 2
    lines = np.concatenate([batch.accepted["line"].to_numpy() for batch in sample.interactions()])
    assert (lines == np.arange(1, 24 * 150_000 + 1)).all()
