"""GET /explore: one user's list by every model of the release that can be served, side by side."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from jobs.kernels.reasons import RANKED
from serving.ids import asked_user
from serving.lookups.home import some_users
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import Response
from serving.service import Service
from serving.solve import History
from warehouse.measures import deciding, HELD_OUT

LATEST = 10  # rows of the history that are shown


async def explore(service: Service, request: Request) -> Response:
    """The first `n` rows of each model's list of a user, as it would be if that model was served, from all that the user has now; how many items
    two lists share, and in how many lists each item is. Without `user_id` nothing but users to begin with."""
    opened, asked = request.opened, asked_user(request.opened, request)
    history: History = {}
    rows: list[dict[str, Any]] = []
    latest: list[dict[str, Any]] = []
    if asked is not None:
        user = service.users.known_as(asked)
        if user is not None:
            seq = service.users.seq(request, opened, user)
            history = await service.threads.run_on(opened, service.users.held, opened, user, seq)
        rows, latest = await service.threads.long(opened, _explored, history, request.values["n"])
    sets = {row["model"]: {listed["item_id"] for listed in row["items"]} for row in rows}
    return Response(
        rows=rows,
        key="model",
        is_personal=asked is not None,
        opened=opened,
        extra={
            "user_id": asked,
            "is_known": bool(history),
            "n_history": len(history),
            "history": latest,
            "overlap": [{"a": a, "b": b, "n_common": len(sets[a] & sets[b])} for a, b in combinations(sets, 2)],
            "metric": f"{deciding(opened.manifest)}@10",
            "users": some_users(service, opened),
            "computed_at": opened.computed_at,
            "stale": service.releases.is_stale(opened),
        },
    )


def _explored(opened: OpenRelease, history: History, n: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lists of a history by every model, and the latest rows of it."""
    latest = sorted(history.items(), key=lambda pair: (pair[1].rated_at or 0, pair[0]), reverse=True)[:LATEST]
    return _lists(opened, history, n), [{"item_id": item, "title": opened.title(item), "rating": held.rating} for item, held in latest]


def _lists(opened: OpenRelease, history: History, n: int) -> list[dict[str, Any]]:
    """Return a row for each model, the served one first, with its list."""
    metric = deciding(opened.manifest)
    values = {
        row["model"]: row["value"]
        for row in opened.manifest.metrics
        if (row["protocol"], row["metric"], row["k"]) == (HELD_OUT, metric, 10)
    }
    rows: list[dict[str, Any]] = []
    for model in sorted(opened.rankers, key=lambda name: name != opened.served_model):
        recommender = opened.recommender_of(model)
        lists = recommender.lists(recommender.history(history), n=n, explain_n=0)
        items = [
            {"rank": rank, "item_id": item, "title": opened.title(item), "score": score, "is_popular": tier != RANKED}
            for rank, (item, score, tier) in enumerate(
                zip(opened.item_ids[lists.items].tolist(), lists.scores.tolist(), lists.tiers.tolist()), 1
            )
        ]
        rows.append({"model": model, "is_served": model == opened.served_model, "value": values.get(model), "items": items})
    n_lists = Counter(listed["item_id"] for row in rows for listed in row["items"])
    for row in rows:
        for listed in row["items"]:
            listed["n_lists"] = n_lists[listed["item_id"]]
    return rows
