"""What is counted when a release is sealed: months, and the answers of the questions of the charts, on rows that one can count by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.seal.analytics import analytics
from jobs.seal.item_counts import item_lists, item_ratings, rating_months
from schemas.derive import arrow_schema
from schemas.tables import IdTypes, ITEM_GENRES, ITEM_LISTS, ITEM_RATINGS, ITEMS, RATING_MONTHS, RECOMMENDATIONS, Table, TABLES, USERS
from warehouse import parquet

JANUARY, FEBRUARY = 1_767_225_600, 1_769_904_000  # 2026-01-01 and 2026-02-01, the first second
# How many users have each of four items, and in how many first tens it is.
N_RATINGS, N_LISTS = [6, 2, 0, 0], [1, 0, 3, 0]
YEARS, GENRES = [1994, 2025, 2026, None], ["Drama", "Drama|Comedy", "Comedy", ""]


def times(*values: int | None) -> pa.Table:
    return pa.table({"rated_at": pa.array(values, pa.int64())})


def test_months_are_counted_over_all_blocks_and_rows_without_a_time_are_left_out() -> None:
    blocks = [times(FEBRUARY, JANUARY, None), times(FEBRUARY - 1, FEBRUARY), times(0, None)]
    assert rating_months(blocks).to_pylist() == [
        {"month": "1970-01", "n_ratings": 1},
        {"month": "2026-01", "n_ratings": 2},
        {"month": "2026-02", "n_ratings": 2},
    ]
    assert rating_months([times(None, None)]).to_pylist() == []


def items() -> pa.Table:
    n = len(N_RATINGS)
    whole = {name: pa.array([None] * n) for name in ("description", "same_item_id")}
    texts = {"title": list("abcd"), "genres": GENRES, "tags": [""] * n}
    truths = {"is_in_catalogue": [True] * n, "is_blocked": [False] * n}
    return pa.table({"item_id": range(n), "year": YEARS, "n_ratings": N_RATINGS, "mean_rating": pa.nulls(n), **whole, **texts, **truths})


def users() -> pa.Table:
    """Eight users: user u has u + 1 interactions."""
    nothing = pa.nulls(8)
    return pa.table(
        {
            "user_id": range(8),
            "n_ratings": range(1, 9),
            "is_held_out": [False] * 8,
            **dict.fromkeys(("mean_rating", "first_rated_at", "last_rated_at"), nothing),
        }
    )


def lists() -> pa.Table:
    """Users 0, 1 and 7 get item 2 first; user 0 gets item 0 after it, from a fallback; user 7 gets it at rank 11, which no first ten has."""
    rows = [(0, 1, 2, "ease"), (0, 2, 0, "popular"), (1, 1, 2, "ease"), (7, 1, 2, "ease"), (7, 11, 0, "popular")]
    names = ("user_id", "rank", "item_id", "source")
    nothing = dict.fromkeys(("predicted_rating", "confidence", "model_rank"))
    return pa.Table.from_pylist([dict(zip(names, row)) | nothing | {"score": 1.0} for row in rows])


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Callable[[Table], list[Path]]]:
    """A function that writes the tables that the questions are asked of, and names their files."""

    def write(ratings: Iterable[float | None], seconds: Iterable[int | None]) -> Callable[[Table], list[Path]]:
        rated = pa.table({"item_id": [0] * 6 + [1] * 2, "rating": pa.array(ratings, pa.float64())})
        genres = [{"genre": genre, "item_id": item} for item, text in enumerate(GENRES) for genre in text.split("|") if genre]
        made = {
            ITEMS: items(),
            USERS: users(),
            RECOMMENDATIONS: lists(),
            ITEM_GENRES: pa.Table.from_pylist(genres),
            ITEM_RATINGS: item_ratings([rated]),
            ITEM_LISTS: item_lists([lists()]),
            RATING_MONTHS: rating_months([times(*seconds)]),
        }
        for table, rows in made.items():
            parquet.write(tmp_path / f"{table.name}.parquet", [rows], arrow_schema(table, IdTypes()))
        return lambda table: [tmp_path / f"{table.name}.parquet"]

    return write


def charts(made: pa.Table) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by chart, label and series."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in made.to_pylist():
        found.setdefault(row["chart"], {}).setdefault(row["label"], {})[row["series"]] = row["value"]
    return found


def test_each_chart_has_what_one_counts_by_hand(written: Callable, tmp_path: Path) -> None:
    files = written([4.5, 3, 3, 3, 4.5, 1, 3, 3], [JANUARY] * 3 + [FEBRUARY] * 5)
    made = analytics(files, tmp_path)
    assert made.equals(analytics(files, tmp_path)) and made.sort_by([(name, "ascending") for name in TABLES["analytics"].key]).equals(made)
    found = charts(made)
    assert found["interactions_by_month"] == {"2026-01": {"n_ratings": 3}, "2026-02": {"n_ratings": 5}}
    assert found["interactions_by_rating"] == {"1": {"n_ratings": 1}, "3": {"n_ratings": 5}, "4.5": {"n_ratings": 2}}
    # pairs of item and genre: Drama has items 0 and 1, Comedy 1 and 2; interactions 6 + 2 and 2; places 2 (of item 0) and 3
    assert found["lists_by_genre"] == {
        "Drama": {"percent_of_items": 50, "percent_of_interactions": 80, "percent_of_places": 40},
        "Comedy": {"percent_of_items": 50, "percent_of_interactions": 20, "percent_of_places": 60},
    }
    assert found["lists_by_decade"]["1990"] == pytest.approx(
        {"percent_of_items": 100 / 3, "percent_of_interactions": 75, "percent_of_places": 40}
    )
    assert list(found["lists_by_decade"]) == ["1990", "2020"]
    assert {label: of["percent_of_places"] for label, of in found["lists_by_age"].items()} == {"this year": 60, "1 to 2": 0, "21 to 40": 40}
    assert {of["percent_of_items"]: of["percent_of_interactions"] for of in found["long_tail"].values()} == {25: 0, 50: 0, 75: 25, 100: 100}
    # Gini of (0, 0, 2, 6): 2 (3 * 2 + 4 * 6) / (4 * 8) - 5 / 4
    assert found["concentration"]["interactions"] == {
        "gini": 0.625,
        "percent_of_items_with_any": 50,
        "percent_of_items_with_half": 25,
        "percent_of_most_frequent_hundredth": 75,
    }
    assert found["concentration"]["first_tens"]["percent_of_items_with_any"] == 50
    least, most = found["lists_by_activity"]["1"], found["lists_by_activity"]["4"]
    # users 0 and 1 have three places in first tens, of items 2, which nobody has, and once 0, which 6 of 8 users have
    assert least == pytest.approx(
        {
            "n_users": 2,
            "fewest_interactions": 1,
            "most_interactions": 2,
            "percent_of_items": 50,
            "percent_who_have_it": 25,
            "percent_by_fallback": 100 / 3,
        }
    )
    assert (most["n_users"], most["fewest_interactions"], most["percent_of_items"], most["percent_by_fallback"]) == (2, 7, 25, 0)
    assert set(found["lists_by_activity"]["2"]) == {"n_users", "fewest_interactions", "most_interactions"}


def test_the_gini_coefficient_is_what_the_curve_leaves_below_the_diagonal(written: Callable, tmp_path: Path) -> None:
    found = charts(analytics(written([1] * 8, [None] * 8), tmp_path))
    for series, label in (("percent_of_interactions", "interactions"), ("percent_of_places", "places")):
        curve = [(0, 0), *((of["percent_of_items"] / 100, of[series] / 100) for of in found["long_tail"].values())]
        area = sum((x - before) * (y + low) / 2 for (before, low), (x, y) in zip(curve, curve[1:]))
        assert found["concentration"][label]["gini"] == pytest.approx(1 - 2 * area)


def test_a_chart_without_data_has_no_rows(written: Callable, tmp_path: Path) -> None:
    found = charts(analytics(written([None] * 8, [None] * 8), tmp_path))
    assert not {"interactions_by_month", "interactions_by_rating", "lists_by_age"} & set(found)
    assert {"lists_by_genre", "lists_by_decade", "long_tail", "concentration", "lists_by_activity"} <= set(found)


def test_ratings_of_many_values_are_counted_in_steps(written: Callable, tmp_path: Path) -> None:
    files = written([0, 0.1, 4.9, 5.1, 99.9, 100, 50, 50], [JANUARY] * 8)
    assert len(charts(analytics(files, tmp_path))["interactions_by_rating"]) == 7  # few enough to stand by themselves
    many = pa.table({"item_id": [0] * 101 + [1], "rating": [number / 1.0 for number in range(101)] + [2.4]})
    parquet.write(files(ITEM_RATINGS)[0], [item_ratings([many])], arrow_schema(ITEM_RATINGS, IdTypes()))
    counted = charts(analytics(files, tmp_path))["interactions_by_rating"]
    assert list(counted)[:3] == ["0", "5", "10"] and len(counted) == 21
    assert sum(of["n_ratings"] for of in counted.values()) == 102 and counted["0"] == {"n_ratings": 4}
