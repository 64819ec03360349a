"""A film under two ids is told by title and year, kept in the items table, and in no list twice."""

from __future__ import annotations

from datetime import datetime, UTC

import numpy as np
import pyarrow as pa
import pytest

from jobs.ingest.items import examples, first_of_same, numbered_items, same_item_id
from jobs.kernels.twins import Twins
from jobs.sources.movielens import open_movielens
from jobs.train.item_tables import _without
from schemas.tables import IdTypes
from tests.conftest import DATA

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
MOVIELENS = DATA / "ml-latest-small"


def table(*rows: tuple) -> pa.Table:
    """Items from (title, year), in the catalogue unless their title is their id."""
    titles, years = zip(*rows)
    ids = pa.array(range(1, len(rows) + 1), pa.int64())
    return pa.table(
        {
            "item_id": ids,
            "title": titles,
            "year": pa.array(years, pa.int64()),
            "is_in_catalogue": [title != str(n) for n, title in enumerate(titles, 1)],
        }
    )


def test_titles_and_years_tell_and_nothing_else() -> None:
    items = table(
        ("Emma (1996)", 1996),
        ("EMMA!  (1996)", 1996),
        ("Emma (2020)", 2020),
        ("Emma", None),
        ("Emma", None),
        ("6", 1996),
        ("emma", 1996),
        ("...", 1996),
        ("!", 1996),
        ("Война и мир", 1966),
        ("война  и мир (1966)", 1966),
    )
    first = first_of_same(items)
    assert first.tolist() == [0, 0, 2, 3, 4, 5, 0, 7, 8, 9, 9]
    same = same_item_id(first, items["item_id"].combine_chunks())
    assert same.to_pylist() == [1, 1, None, None, None, None, 1, None, None, 10, 10]
    assert examples(items, same) == [("Emma (1996)", [1, 2, 7]), ("Война и мир", [10, 11])]


def test_neighbours_are_neither_the_item_itself_nor_one_thing_twice() -> None:
    """Items 0 and 1 are one, and 3, 4, 5; item 2 is barred, and 4 with it."""
    alike = Twins(np.array([0, 0, 2, 3, 3, 3, 6], np.int32))
    numbers, others = np.array([0] * 6 + [6] * 3), np.array([1, 2, 4, 3, 5, 6, 0, 1, 3])
    found = _without(np.array([2, 4]), alike, 2, numbers, others, np.linspace(1, 0.1, 9))
    assert found[0].tolist() == [0, 0, 6, 6] and found[1].tolist() == [3, 6, 0, 3]
    assert _without(np.array([2, 4]), Twins(), 9, numbers, others, np.ones(9))[1].tolist() == [1, 3, 5, 6, 0, 1, 3]


@pytest.mark.skipif(not MOVIELENS.exists(), reason="ml-latest-small is not there")
def test_the_doubles_of_movielens_are_found() -> None:
    catalogue = open_movielens(MOVIELENS, latest=LATEST).catalogue()
    items = numbered_items(catalogue, pa.array([], pa.int64()), IdTypes())
    found = examples(items, same_item_id(first_of_same(items), items["item_id"].combine_chunks()), n=100)
    assert sorted(title for title, _ in found) == [
        "Confessions of a Dangerous Mind (2002)",
        "Emma (1996)",
        "Eros (2004)",
        "Saturn 3 (1980)",
        "War of the Worlds (2005)",
    ]
    assert ("Emma (1996)", [838, 26958]) in found
