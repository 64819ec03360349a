"""The page of quality: metrics of all releases, what they were judged by, and its charts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from serving.charts import Axis, chart_of, Dot, interval, Line, lines, Point, points
from tests.conftest import Built
from tests.serving.conftest import clone, Server, serving
from warehouse.layout import Warehouse
from warehouse.release import current_id

HTML = {"accept": "text/html"}


def test_its_rows_are_the_metrics_of_the_manifests(movies: Server, movie_release: Built) -> None:
    answer, manifest = movies.get("/quality").json(), movie_release.manifest
    expected = {
        row["model"]: row["value"] for row in manifest.metrics if (row["protocol"], row["metric"]) == ("held_out_last", "ndcg_liked")
    }
    assert (answer["metric"], answer["protocol"]) == ("ndcg_liked@10", "held_out_last")
    mine = [row for row in answer["rows"] if row["release"] == movie_release.release_id]
    assert {row["model"]: row["value"] for row in mine} == expected
    assert [row["model"] for row in mine if row["is_served"]] == [manifest.served_model]
    verdict = next(row for row in answer["verdicts"] if row["release"] == movie_release.release_id)
    assert verdict["reason"] == manifest.verdict["reason"] and verdict["status"] == "served"
    assert {row["model"]: row["value"] for row in answer["models"]} == expected
    other = movies.get("/quality?metric=ndcg@10&protocol=validation").json()
    assert other["rows"] and all(row["value"] in {m["value"] for m in manifest.metrics} for row in other["rows"])
    for query, said in (
        ("metric=nothing", "metric: no release has"),
        ("metric=ndcg@11", "metric: no release has"),
        ("protocol=x", "protocol: no release has a metric of 'x'; expected one of held_out_last, "),
    ):
        refused = movies.get(f"/quality?{query}")
        assert refused.status_code == 400 and refused.json()["error"].startswith(said)


def test_the_page_draws_every_release_and_says_why_one_was_held_back(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    measure = {"metric": "nDCG@10", "difference": -0.02, "low": -0.03, "high": -0.01, "least": -0.007, "n_users": 60}
    held_back = {"decision": "hold back", "reason": "it finds <less>", "champion": current_id(warehouse), "measures": [measure]}
    clone(warehouse, current_id(warehouse), "20990101T000000Z", verdict=held_back, created_at="2099-01-01T00:00:00+00:00")
    with serving(folder) as server:
        answer, page = server.get("/quality").json(), server.get("/quality", headers=HTML).text
        assert [row["status"] for row in answer["verdicts"]] == ["held back", "served"]
        assert "it finds &lt;less&gt;" in page and 'aria-label="-0.0200, from -0.0300 to -0.0100"' in page
        served = next(row["model"] for row in answer["rows"] if row["is_served"])
        line = re.search(r'<polyline class="c0 main" points="([^"]+)"', page)[1].split()
        assert len(line) == 2 and f'<li class="c0">{served}</li>' in page
        assert "2099-01-01" in page


def test_a_chart_is_well_formed_has_a_title_and_escapes_names() -> None:
    drawn = [Line("<b>", [Point(0, 0.1, 0.05, 0.15), Point(2, 0.2)], is_main=True), Line("y", [Point(1, 0.3)])]
    for made in (lines(drawn, ["a&b", "c", "d"], 'say "so"'), points([Dot("<i>", 0.1, 0.2, True), Dot("z", 0.1, 0.2)], "x", "y", "dots")):
        svg = ElementTree.fromstring(str(made))
        assert svg.get("aria-label") in ('say "so"', "dots") and svg.get("role") == "img"
    assert lines([], [], "none") == points([], "x", "y", "none") == ""
    assert ElementTree.fromstring(str(interval(-1, 0.5, 99, -0.1, 2.0))).get("aria-label") == "+0.5000, from -1.0000 to +99.0000"


def test_labels_of_dots_in_one_place_do_not_cover_each_other() -> None:
    svg = ElementTree.fromstring(str(points([Dot(name, 0.1, 0.2) for name in "abc"], "x", "y", "dots")))
    heights = [float(text.get("y")) for text in svg.iter("text") if text.text in {"a", "b", "c"}]
    assert min(b - a for a, b in zip(heights, heights[1:])) >= 12


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [0.0912, 0.1454], [-3, 12000], [1e-9, 2e-9]])
def test_an_axis_holds_its_values_between_round_ticks(values: list[float]) -> None:
    axis = Axis(values, 100, 0)
    assert 2 <= len(axis.ticks) <= 8 and axis.ticks[0] <= min(values) and axis.ticks[-1] >= max(values)
    assert all(-0.1 <= axis(value) <= 100.1 for value in values)


def test_a_model_keeps_its_line_where_a_release_has_not_trained_it() -> None:
    def row(release: str, model: str, value: float) -> dict[str, object]:
        at = f"2026-01-0{release}T00:00:00+00:00"
        return {
            "release": release,
            "created_at": at,
            "model": model,
            "is_served": model == "b",
            "value": value,
            "low": None,
            "high": None,
            "n_users": 9,
        }

    chart = chart_of([row("1", "a", 0.1), row("1", "b", 0.2), row("2", "b", 0.3), row("3", "a", 0.4), row("3", "b", 0.5)])
    assert [(line.name, [point.at for point in line.points]) for line in chart.lines] == [("b", [0, 1, 2]), ("a", [0, 2])]
    assert chart.ticks == ["2026-01-01", "2026-01-02", "2026-01-03"] and chart.table[1]["cells"].keys() == {"b"}
