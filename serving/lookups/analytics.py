"""GET /analytics: what people have beside what they are recommended, in aggregates that were counted when the release was sealed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from schemas.errors import NotFound
from schemas.metrics import metric_of
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse.measures import HELD_OUT, named
from warehouse.queries import canned_queries, CHARTS

_QUESTIONS = canned_queries()
_FIGURES = "select chart, series, position, label, value from analytics"
_OF_LISTS = ("intra_list_diversity", "miscalibration", "coverage", "gini")
_MISSING = {
    "interactions_by_month": "the source has no times",
    "interactions_by_rating": "the source has no ratings",
    "lists_by_genre": "no item has a genre",
    "lists_by_decade": "no item has a year",
    "lists_by_age": "no item has a year, or the source has no times",
}


def analytics(service: Service, request: Request) -> Awaitable[Response]:
    """A row for each chart: the stored question that made it, what it answered, and, where it has no rows, what they would take. Beside
    them what was measured of the lists of the users who were kept out of training."""
    return service.threads.aside(request.opened, _analytics, service, request)


def _analytics(service: Service, request: Request) -> Response:
    opened, manifest = request.opened, request.opened.manifest
    if "analytics" not in manifest.counts:
        raise NotFound(f"release {opened.id} has no analytics: it was built by an earlier version; `cinematch run` builds one that has")
    answers = _answers(opened)
    rows = [
        {
            "chart": chart,
            "title": _QUESTIONS[chart]["title"],
            "description": _QUESTIONS[chart]["description"],
            "rows": answers.get(chart, []),
            "missing": None if chart in answers else _MISSING.get(chart, "no list has an item"),
        }
        for chart in CHARTS
    ]
    measured = [
        {
            "metric": named(row["metric"], row["k"]),
            "meaning": metric_of(row["metric"]).meaning,
            "value": row["value"],
            "n_users": row["n_users"],
        }
        for name in _OF_LISTS
        for row in manifest.metrics
        if (row["model"], row["protocol"], row["metric"]) == (manifest.served_model, HELD_OUT, name)
    ]
    stale = service.releases.is_stale(opened)
    return Response(
        rows=rows,
        key="chart",
        opened=opened,
        tag=f"{opened.id}{'.s' if stale else ''}",
        extra={
            "computed_at": opened.computed_at,
            "stale": stale,
            "counts": {name: manifest.counts[name] for name in ("users", "items", "ratings", "recommendations")},
            "measured": measured,
            "source": "analytics",
        },
    )


def _answers(opened: OpenRelease) -> dict[str, list[dict[str, Any]]]:
    """Read the rows of each chart, in their order: the label, and a figure for each series."""
    answers: dict[str, dict[int, dict[str, Any]]] = {}
    for chart, series, position, label, value in opened.reader().execute(_FIGURES):
        answers.setdefault(chart, {}).setdefault(position, {"label": label})[series] = value
    return {chart: [of[position] for position in sorted(of)] for chart, of in answers.items()}
