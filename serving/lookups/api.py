"""GET /api: every operation with what it takes and an example to paste, from the declarations that dispatch it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, TYPE_CHECKING
from urllib.parse import urlencode

from serving.lookups.home import some_users
from serving.lookups.items import popular_rows
from serving.lookups.openapi import document
from serving.opened import OpenRelease
from serving.pages import id_path
from serving.request import Request
from serving.response import Response
from serving.service import Service

if TYPE_CHECKING:
    from serving.route import Route


async def api(service: Service, request: Request) -> Response:
    """Every operation of /openapi.json for people: what it is for, its parameters, and a call of it with curl and with Python that can be pasted.
    The ids in them are of this release."""
    opened = request.opened
    users = some_users(service, opened)
    rows = await service.threads.aside(opened, _operations, service, opened, users[0]["user_id"] if users else None)
    return Response(
        rows=rows, key="name", opened=opened, extra={"computed_at": opened.computed_at, "stale": service.releases.is_stale(opened)}
    )


def _operations(service: Service, opened: OpenRelease, user: Any) -> list[dict[str, Any]]:
    settings = service.settings
    described = document(service.routes, opened, batch_n=settings.batch_n, is_private=service.guard.is_private)["paths"]
    operations = {operation["operationId"]: operation for path in described.values() for operation in path.values()}
    base, sample = f"http://{settings.host}:{settings.port}", _sample(opened, user)
    return [_operation(route, operations[route.name], base, sample) for route in service.routes]


def _sample(opened: OpenRelease, user: Any) -> dict[str, Any]:
    """Return values for what a path, a query or a body must have."""
    liked = popular_rows(opened, "", 0, 10)
    item, title = (liked[0]["item_id"], liked[0]["title"]) if liked else (opened.item_id(0), opened.title(opened.item_id(0)))
    value = {"rating": opened.manifest.rating_scale[1]} if opened.manifest.rating_scale else {"weight": 1.0}
    rated = {"item_id": item, **({"rating": opened.manifest.rating_scale[1]} if opened.manifest.rating_scale else {})}
    return {
        "user_id": "1" if user is None else user,
        "item_id": item,
        "release": "current",
        "run": "RUN",
        "items": item,
        "a": "current",
        "b": "latest",
        "q": next(iter(re.findall(r"\w+", title or "")), "a"),
        "NewRatings": {"user_id": user, "item_id": item, **value},
        "Pairs": {"user_id": user, "item_id": item},
        "Session": {"ratings": [rated]},
        "Candidates": {"items": [row["item_id"] for row in liked] or [item], "user_id": user},
        "NewRun": {},
    }


def _operation(route: Route, described: Mapping[str, Any], base: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    names = {part: id_path(sample[part[1:-1]]) for part in route.segments if part[:1] == "{"}
    path = "/" + "/".join(names.get(part, part) for part in route.segments)
    needed = [(parameter.name, sample[parameter.name]) for parameter in route.parameters if parameter.is_required]
    example = path + (f"?{urlencode(needed)}" if needed else "")
    scope = next((scopes["key"][0] for scopes in described.get("security", ()) if "key" in scopes), None)
    body = sample[route.body] if route.body else None
    return {
        "name": route.name,
        "method": route.method,
        "path": route.path,
        "tag": described["tags"][0],
        "summary": route.summary,
        "description": described["description"],
        "scope": scope,
        "parameters": [_parameter(parameter) for parameter in described["parameters"]],
        "example": example,
        "curl": _curl(route.method, base + example, scope, body),
        "python": _python(route.method, base + example, scope, body),
    }


def _parameter(described: Mapping[str, Any]) -> dict[str, Any]:
    schema = described["schema"]
    kind = "list" if schema.get("type") == "array" else schema.get("type", "text")
    return {
        "name": described["name"],
        "in": described["in"],
        "type": {"string": "text", "integer": "whole number"}.get(kind, kind),
        "is_required": described["required"],
        "default": schema.get("default"),
        "description": described["description"],
    }


def _curl(method: str, url: str, scope: str | None, body: Any) -> str:
    words = ["curl"]
    if method != ("GET" if body is None else "POST"):
        words.append(f"-X {method}")
    if scope is not None:
        words.append('-H "Authorization: Bearer $KEY"')
    words.append(shlex.quote(url))
    if body is not None:
        words.append(f"-d {shlex.quote(json.dumps(body))}")
    return " ".join(words)


def _python(method: str, url: str, scope: str | None, body: Any) -> str:
    arguments = [repr(url)]
    if body is not None:
        arguments.append(f"json.dumps({body!r}).encode()")
    if scope is not None:
        arguments.append('headers={"Authorization": f"Bearer {KEY}"}')
    if method != ("GET" if body is None else "POST"):
        arguments.append(f"method={method!r}")
    return f"import json, urllib.request\n\nrequest = urllib.request.Request({', '.join(arguments)})\njson.load(urllib.request.urlopen(request))"
