"""Neighbours by content: series come together whatever their years, and films of one year that share nothing do not."""

from __future__ import annotations

from datetime import datetime, UTC

import numpy as np
import pyarrow as pa
import pytest

from jobs.ingest.items import numbered_items
from jobs.kernels.neighbours import sparse_neighbours
from jobs.models import content
from jobs.sources.movielens import open_movielens
from schemas.tables import IdTypes
from tests.conftest import DATA

MOVIELENS = DATA / "ml-latest-small"
SERIES = (("Harbour Lights", "Drama|Romance"), ("The Iron Wardens", "Action|Sci-Fi"), ("Professor Quill", "Comedy|Mystery"))
PAIRS = (
    ("Godfather, The (1972)", "Godfather: Part II, The (1974)"),
    ("Toy Story (1995)", "Toy Story 2 (1999)"),
    ("Star Wars: Episode IV - A New Hope (1977)", "Star Wars: Episode V - The Empire Strikes Back (1980)"),
    ("Star Wars: Episode I - The Phantom Menace (1999)", "Star Wars: Episode II - Attack of the Clones (2002)"),
    ("Lord of the Rings: The Fellowship of the Ring, The (2001)", "Lord of the Rings: The Two Towers, The (2002)"),
    ("Harry Potter and the Chamber of Secrets (2002)", "Harry Potter and the Prisoner of Azkaban (2004)"),
    ("Alien (1979)", "Aliens (1986)"),
    ("Matrix, The (1999)", "Matrix Reloaded, The (2003)"),
    ("Terminator, The (1984)", "Terminator 2: Judgment Day (1991)"),
    ("Before Sunrise (1995)", "Before Sunset (2004)"),
    ("Back to the Future (1985)", "Back to the Future Part II (1989)"),
    ("Die Hard (1988)", "Die Hard 2 (1990)"),
    ("Kill Bill: Vol. 1 (2003)", "Kill Bill: Vol. 2 (2004)"),
    ("Bourne Identity, The (2002)", "Bourne Supremacy, The (2004)"),
    ("Indiana Jones and the Temple of Doom (1984)", "Indiana Jones and the Last Crusade (1989)"),
)  # fmt: skip


def neighbours(features, of: np.ndarray, n: int = 10) -> dict[int, list[int]]:
    numbers, others, _ = sparse_neighbours(features, of, n)
    found: dict[int, list[int]] = {item: [] for item in of.tolist()}
    for item, other in zip(numbers.tolist(), others.tolist()):
        found[item].append(other)
    return found


def test_a_series_is_nearer_than_a_year() -> None:
    """Three films of each series, ten years apart; in each of their years films of other kinds, more than there are places."""
    titles, genres, years = [], [], []
    for number, (title, kinds) in enumerate(SERIES):
        for part in range(3):
            titles, genres, years = [*titles, f"{title} {'I' * (part + 1)}"], [*genres, kinds], [*years, 1960 + 3 * number + 10 * part]
    others = ("Western", "War", "Musical", "Documentary", "Horror", "Western|War")
    for year in years[:]:
        for number, kinds in enumerate(others):
            titles, genres, years = [*titles, f"{chr(97 + number)}{year} alone"], [*genres, kinds], [*years, year]
    nothing = [""] * len(titles)
    items = pa.table({"title": titles, "genres": genres, "tags": nothing, "description": nothing, "year": pa.array(years, pa.int64())})
    found = neighbours(content.features(items), np.arange(9), 2)
    assert {item: sorted(near) for item, near in found.items()} == {
        item: [other for other in range(item // 3 * 3, item // 3 * 3 + 3) if other != item] for item in range(9)
    }


def test_each_kind_of_term_has_its_weight() -> None:
    """Two items that share one kind and nothing else are as alike as its weight says; rows have unit length."""
    columns = {
        "title": ["red ox", "red hen", "", ""],
        "genres": ["War", "Play", "Song", "Song"],
        "tags": ["a", "b", "c", "d"],
        "year": [1950, 1970, 1990, 2010],
    }
    items = pa.table(columns | {"description": [""] * 4})
    features = content.features(items)
    alike, w = (features @ features.T).toarray(), content.WEIGHTS
    assert np.allclose(alike.diagonal(), 1.0)
    shared = content.features(items.set_column(0, "title", [["", "", "", ""]]))
    assert (shared @ shared.T)[2, 3] == pytest.approx(w["genre"] / (w["genre"] + w["tag"] + w["year"]), rel=1e-5)
    assert 0 < alike[0, 1] < w["word"] / sum(w.values()) and alike[0, 2] == 0


def test_lists_may_weigh_years_otherwise() -> None:
    items = pa.table(
        {
            "title": ["red ox", "red hen", "blue pig", *"abcd"],
            "genres": ["War", "War", "Play", "Song", "Song", "Tale", "Tale"],
            "tags": [""] * 7,
            "description": [""] * 7,
            "year": [1950, 1990, 1950, 2000, 2010, 2020, 2030],
        }
    )
    matrix, names = content.named_features(items)
    is_year = np.array([name.startswith("year:") for name in names])
    same, more = (content._with_years(matrix, is_year, weight) for weight in (content.WEIGHTS["year"], 4.0))
    assert np.allclose(same.toarray(), matrix.toarray(), atol=1e-6) and np.allclose(more.multiply(more).sum(axis=1), 1.0)
    assert (matrix @ matrix.T)[0, 1] > (matrix @ matrix.T)[0, 2] and (more @ more.T)[0, 2] > (more @ more.T)[0, 1]


@pytest.mark.skipif(not MOVIELENS.exists(), reason="ml-latest-small is not there")
def test_neighbours_of_movielens_are_sequels_and_of_their_genres_not_of_their_year() -> None:
    catalogue = open_movielens(MOVIELENS, latest=datetime(2026, 1, 1, tzinfo=UTC)).catalogue()
    items = numbered_items(catalogue, pa.array([], pa.int64()), IdTypes())
    features = content.features(items)
    titles, years = items["title"].to_pylist(), np.array(items["year"].fill_null(0).to_pylist())
    genres = [set(text.split("|")) - {""} for text in items["genres"].to_pylist()]
    place = {title: number for number, title in enumerate(titles)}
    found = neighbours(features, np.array([place[title] for title, _ in PAIRS]))
    missed = [title for title, other in PAIRS if place[other] not in found[place[title]]]
    assert not missed
    assert titles[found[place["Godfather, The (1972)"]][0]] == "Godfather: Part II, The (1974)"
    some = np.array([number for number in range(0, len(items), 12) if genres[number] and years[number]])
    pairs = np.array([(item, other) for item, near in neighbours(features, some).items() for other in near])
    assert np.mean(years[pairs[:, 0]] == years[pairs[:, 1]]) < 0.2  # 0.80 where all terms count alike
    assert np.mean([not genres[item] & genres[other] for item, other in pairs]) < 0.03  # 0.23
