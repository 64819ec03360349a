"""The page of aggregates: what it draws is what the release has, what has no data is said, and its charts are exact."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from serving.distributions import columns, lorenz, months, Series, sideways
from tests.conftest import Built
from tests.serving.conftest import clone, Server, serving
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.queries import CHARTS
from warehouse.release import current_id

HTML = {"accept": "text/html"}
A, B = Series("a", "alpha", 0), Series("b", "be<ta", 1)


def test_its_rows_are_the_figures_of_the_release(movies: Server, movie_release: Built) -> None:
    answer = movies.get("/analytics").json()
    assert [row["chart"] for row in answer["rows"]] == list(CHARTS) and all(row["missing"] is None for row in answer["rows"])
    with closing(sqlite3.connect(movie_release.release.database)) as connection:
        stored = connection.execute("select chart, series, position, label, value from analytics").fetchall()
    said = [
        (chart["chart"], series, position, row["label"], value)
        for chart in answer["rows"]
        for position, row in enumerate(chart["rows"], 1)
        for series, value in row.items()
        if series != "label"
    ]
    assert sorted(said) == sorted(stored)
    metrics = {
        (row["metric"], row["value"]) for row in movie_release.manifest.metrics if row["model"] == movie_release.manifest.served_model
    }
    assert {row["metric"] for row in answer["measured"]} == {"coverage@10", "gini@10"}
    assert {(row["metric"].split("@")[0], row["value"]) for row in answer["measured"]} <= metrics


@pytest.mark.parametrize("kind", ["movies", "purchases"])
def test_each_chart_has_a_title_a_table_and_the_sql_that_made_it(kind: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(kind)
    rows, page = server.rows("/analytics"), server.get("/analytics", headers=HTML).text
    assert len(page.encode()) < 150_000 and "<script>" not in page
    drawn = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
    assert len(drawn) == sum(bool(row["rows"]) for row in rows) - 2  # the last two that have rows are tables alone
    assert all(ElementTree.fromstring(svg).get("aria-label") for svg in drawn)
    for row in rows:
        assert (f'href="/cinematch/{row["chart"]}"' in page) == bool(row["rows"]) != bool(row["missing"])
        if row["rows"]:
            assert server.get(f"/cinematch/{row['chart']}.json?_shape=array").json()[0].keys() > row["rows"][0].keys() - {"label"}
            shown = server.get(f"/cinematch/analytics.json?chart={row['chart']}&_shape=array&_size=max").json()
            assert {one["label"] for one in shown} == {one["label"] for one in row["rows"]}
    if kind == "purchases":
        assert "The source has no ratings." in page and "Interactions by month" in page and "Ratings by value" not in page
    else:
        assert "Left out" not in page and "Ratings by value" in page
        by_rating = next(row["rows"] for row in rows if row["chart"] == "interactions_by_rating")
        assert all(f'<td>{one["label"]}</td><td class="num" data-label="ratings">{one["n_ratings"]:,.0f}</td>' in page for one in by_rating)


def test_a_release_of_an_earlier_version_has_none_and_says_so(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    before = warehouse.sealed(current_id(warehouse))
    counts = {"users": 1, "items": 1, "ratings": 1, "recommendations": 1}
    promote(warehouse, clone(warehouse, before.id, "20990101T000000Z", counts=counts), reason="of an earlier version")
    with serving(folder) as server:
        refused = server.get("/analytics")
        assert refused.status_code == 404 and "built by an earlier version; `cinematch run` builds one" in refused.json()["error"]


def test_months_without_interactions_are_zero() -> None:
    rows = [{"label": "2025-11", "n": 4}, {"label": "2026-02", "n": 8}]
    svg = ElementTree.fromstring(str(months(rows, "n", "ratings", "by <month>")))
    heights = [point.split(",")[1] for point in svg.find("polyline").get("points").split()]
    assert len(heights) == 4 and heights[1] == heights[2] == max(heights, key=float) and svg.get("aria-label") == "by <month>"
    assert {"2026-02", "0", "8"} <= {text.text for text in svg.iter("text")}
    many = [{"label": f"{year}-01", "n": year} for year in range(1990, 2026)]
    assert not list(ElementTree.fromstring(str(months(many, "n", "ratings", "x"))).iter("circle"))  # hundreds of months need no marks


def test_bars_are_as_long_as_what_they_say_and_names_are_escaped() -> None:
    rows = [{"label": "<b>", "a": 10.0, "b": 20.0}, {"label": "a genre of a name that is too long", "a": 5.0}]
    for made, side in ((columns(rows, [A, B], "t", " %"), "height"), (sideways(rows, [A, B], "t", " %"), "width")):
        svg = ElementTree.fromstring(str(made))
        sizes = {bar.find("title").text: float(bar.get(side)) for bar in svg.iter("rect")}
        assert set(sizes) == {"<b>, alpha: 10 %", "<b>, be<ta: 20 %", f"{rows[1]['label']}, alpha: 5 %"}
        ten, twenty, five = sizes.values()
        assert twenty == pytest.approx(2 * ten, abs=0.2) and ten == pytest.approx(2 * five, abs=0.2)
    assert "a genre of a name tha…" in {text.text for text in svg.iter("text")}


def test_a_curve_of_shares_begins_at_nothing_and_ends_at_all() -> None:
    rows = [{"label": "1", "x": 50.0, "a": 10.0}, {"label": "2", "x": 100.0, "a": 100.0}]
    svg = ElementTree.fromstring(str(lorenz(rows, "x", [A, B], "t")))
    first, second = svg.findall("polyline")
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in first.get("points").split())
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1) and (y0 - y1) == pytest.approx((y0 - y2) / 10, abs=0.1)
    assert svg.find("path[@class='zero']").get("d") == f"M{x0} {y0}L{x2} {y2}" and len(second.get("points").split()) == 1
