"""/: what there is, with some users and items to begin with."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from schemas.errors import CineMatchError
from serving.lookups.items import popular_rows
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse import release as releases
from warehouse.layout import Release
from warehouse.measures import choice

_SOME_USERS = "select user_id, n_ratings from users order by user_id limit 12"
_POPULAR_N = 10
_TREND = ("users", "items", "ratings", "recommendations")
_TREND_N = 12  # releases


async def home(service: Service, request: Request) -> Response:
    """The routes as rows; beside them a few users, the most popular items and the release's figures, with those of the releases before."""
    opened = request.opened
    trend = await asyncio.to_thread(_trend, service, opened)
    rows = [{"method": route.method, "path": route.path, "summary": route.summary} for route in service.routes]
    return Response(
        rows=rows,
        key="path",
        # the users to begin with are others when one is forgotten, and so is the trend when a release is pruned
        tag=f"{opened.tag}.{len(service.users.forgotten.known)}.{trend[0]['release']}.{len(trend)}",
        opened=opened,
        extra={
            "computed_at": opened.computed_at,
            "stale": service.releases.is_stale(opened),
            "users": some_users(service, opened),
            "popular": popular_rows(opened, "", 0, _POPULAR_N),
            "counts": opened.manifest.counts,
            "trend": trend,
            "genres": opened.genres,
            "served_model": opened.manifest.served_model,
            "choice": choice(opened.manifest),
        },
    )


def some_users(service: Service, opened: OpenRelease) -> list[dict[str, Any]]:
    """Return a few users to begin with, and how many ratings each has."""
    users = opened.connection.execute(_SOME_USERS)
    return [{"user_id": user, "n_ratings": n} for user, n in users if not service.users.is_forgotten(user)]


def _trend(service: Service, opened: OpenRelease) -> list[dict[str, Any]]:
    """Return the rows of a few tables in each sealed release up to this one, the oldest first."""
    upto = [name for name in releases.sealed_ids(service.warehouse) if name < opened.id][1 - _TREND_N :]
    counted = [(name, _counts(service.warehouse.sealed(name))) for name in upto]
    known = [*((name, counts) for name, counts in counted if counts is not None), (opened.id, opened.manifest.counts)]
    return [{"release": name, **{table: counts[table] for table in _TREND}} for name, counts in known]


@lru_cache(64)
def _counts(release: Release) -> dict[str, int] | None:
    """Read what a sealed release counts, which never changes; None if its manifest cannot be read."""
    try:
        return releases.read_manifest(release).counts
    except CineMatchError:  # /releases says what is wrong with it
        return None
