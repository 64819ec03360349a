"""/: what there is, with some users and items to begin with."""

from __future__ import annotations

from typing import Any

from serving.lookups.items import popular_rows
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse.measures import choice

_SOME_USERS = "select user_id, n_ratings from users order by user_id limit 12"
_POPULAR_N = 10


def home(service: Service, request: Request) -> Response:
    """The routes as rows; beside them a few users, the most popular items and the release's figures."""
    opened = request.opened
    rows = [{"method": route.method, "path": route.path, "summary": route.summary} for route in service.routes]
    return Response(
        rows=rows,
        key="path",
        tag=f"{opened.tag}.{len(service.users.forgotten.known)}",  # the users to begin with are others when one is forgotten
        opened=opened,
        extra={
            "computed_at": opened.computed_at,
            "stale": service.releases.is_stale(opened),
            "users": some_users(service, opened),
            "popular": popular_rows(opened, "", 0, _POPULAR_N),
            "counts": opened.manifest.counts,
            "genres": opened.genres,
            "served_model": opened.manifest.served_model,
            "choice": choice(opened.manifest),
        },
    )


def some_users(service: Service, opened: OpenRelease) -> list[dict[str, Any]]:
    """Return a few users to begin with, and how many ratings each has."""
    users = opened.connection.execute(_SOME_USERS)
    return [{"user_id": user, "n_ratings": n} for user, n in users if not service.users.is_forgotten(user)]
