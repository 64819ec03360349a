"""/openapi.json: the routes described for programs, by the declarations that dispatch them and the release that answers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, TYPE_CHECKING
from weakref import WeakKeyDictionary

from serving.opened import OpenRelease
from serving.parameters import Parameter, RELEASE, SEALED
from serving.request import Request
from serving.response import compact, Response
from serving.row_schemas import components, id_schema, reference, shapes
from serving.service import Service
from warehouse.keys import RATINGS, READ, RUN, SCOPES

if TYPE_CHECKING:
    from serving.route import Route

MOST_GENRES = 200
_ABOUT = """Recommendations as rows, with the reasons that sum to each score.

An answer is `{ok: true, release, took_ms, next, next_url, rows, ...}`, a refusal `{ok: false, error, status}`. `next_url` is the
next page of the same list. `release` names a sealed release that is asked as it was sealed, and the answer says `as_sealed`.
`_shape` gives the rows in another shape: `arrays` as lists of values, `array` without what stands
around them, `arrayfirst` only their first values, `object` by their ids; `_nl` with `array` or `arrayfirst` gives them as
text, a row a line."""
_TAGS = {"ratings": "ratings", "releases": "releases", "runs": "releases", "data": "releases"}
_TAGS |= dict.fromkeys(("", "api", "health", "metrics", "openapi"), "server")
_PATHS = {
    "user_id": "a user's id",
    "item_id": "an item's id",
    "release": "a release's id, `current` or `latest`",
    "run": "a run's id",
}
_PATTERNS = {"release": {"pattern": RELEASE}}
_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key; the roles that an operation names are scopes, of which the key must have one: "
        + "; ".join(f"`{scope}`: {meaning}" for scope, meaning in SCOPES.items()),
    },
    "user_token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "a token that an application made for one of its users (HS256; `sub` is the user's id, `exp` at most a day away); "
        "it reads what is that user's own, and items",
    },
}
_REFUSALS = {
    400: "something sent does not fit; the error says what",
    401: "a key is needed",
    403: "not allowed: the key has not the scope, no key is configured, or the user asked to be forgotten",
    404: "not there",
    408: "the body did not come in time",
    409: "it contradicts what is there, or a release is damaged",
    410: "the page's release is no longer served",
    413: "too much in one request",
    429: "too many requests; `Retry-After` says when to ask again",
    502: "Airflow failed",
    503: "not possible just now",
    507: "the disk is full",
}


_TEXTS: WeakKeyDictionary[OpenRelease, str] = WeakKeyDictionary()  # what a release's description is, once it was asked for


async def describe(service: Service, request: Request) -> Response:
    """OpenAPI 3.1, as a document of its own and not in the envelope."""
    opened, settings = request.opened, service.settings
    text = _TEXTS.get(opened)
    if text is None:
        made = await service.threads.aside(
            opened, lambda: compact(document(service.routes, opened, batch_n=settings.batch_n, is_private=service.guard.is_private))
        )
        text = _TEXTS[opened] = made
    return Response(text=text, kind="application/json; charset=utf-8")


def document(routes: tuple[Route, ...], opened: OpenRelease, *, batch_n: int, is_private: bool) -> dict[str, Any]:
    """The description of a table of routes, with the ids, genres and ratings of a release."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = "/openapi.json" if route.path == "/openapi" else route.path
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, opened, is_private=is_private)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CineMatch", "version": version("cinematch"), "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": components(opened.ids, opened.manifest.rating_scale, batch_n),
            "securitySchemes": {name: scheme for name, scheme in _SCHEMES.items() if is_private or name == "key"},
        },
    }


def _operation(route: Route, opened: OpenRelease, *, is_private: bool) -> dict[str, Any]:
    scope = route.scope or (READ if is_private and not route.is_open else None)
    refusals = {str(status): _refusal(status) for status in _statuses(route, scope)}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [_TAGS.get(route.segments[0], "lists")],
        "summary": route.summary,
        "description": " ".join((route.handler.__doc__ or "").split()),
        "parameters": [*_in_path(route, opened), *(_in_query(parameter, opened) for parameter in _declared(route))],
        "responses": {str(route.status): _success(route), **refusals, "default": _refusal(None)},
    }
    if route.body:
        content = {"application/json": {"schema": reference(route.body)}}
        operation["requestBody"] = {"required": route.body != "NewRun", "content": content}
    if scope is not None:
        operation["security"] = [{"key": [scope]}, *([{"user_token": []}] if scope == READ and route.for_users else [])]
    return operation


def _declared(route: Route) -> tuple[Parameter, ...]:
    return route.declared if route.rows else ()


def _in_path(route: Route, opened: OpenRelease) -> list[dict[str, Any]]:
    parameters = []
    for name in (part[1:-1] for part in route.segments if part[:1] == "{"):
        is_id = name in ("user_id", "item_id")
        plain = {"type": "string", "minLength": 1, "maxLength": 1000, **_PATTERNS.get(name, {})}
        schema = id_schema(opened.ids, name) if is_id else plain
        parameters.append({"name": name, "in": "path", "required": True, "description": _PATHS[name], "schema": schema})
    return parameters


def _in_query(parameter: Parameter, opened: OpenRelease) -> dict[str, Any]:
    schema = parameter.schema()
    if parameter.kind == "list":
        schema = {
            "type": "array",
            "items": reference("ItemId") if parameter.name in ("exclude", "items") else {"type": "string", "minLength": 1},
        }
    if parameter.name == "user_id":
        schema = id_schema(opened.ids, "user_id")
    if parameter.name == "genre" and 0 < len(opened.genres) <= MOST_GENRES:
        schema = schema | {"enum": list(opened.genres)}
    if parameter.name in ("any_genre", "all_genres", "no_genre", "genres"):
        schema["items"] = {"type": "string", "enum": list(opened.genres)} if 0 < len(opened.genres) <= MOST_GENRES else schema["items"]
    if parameter.kind == "list" and parameter.choices:
        schema["items"] = {"type": "string", "enum": list(parameter.choices)}
    described = {"name": parameter.name, "in": "query", "required": parameter.is_required, "description": parameter.description}
    return {**described, "schema": schema}


def _success(route: Route) -> dict[str, Any]:
    if not route.rows:
        is_text = route.path == "/metrics"
        kind, schema = ("text/plain", {"type": "string"}) if is_text else ("application/json", {"type": "object"})
        return {"description": route.summary, "content": {kind: {"schema": schema}}}
    content = {"application/json": {"schema": shapes(route.rows)}, "text/plain": {"schema": {"type": "string"}}}
    if route.page:
        content["text/html"] = {"schema": {"type": "string"}}
    success: dict[str, Any] = {"description": route.summary, "content": content}
    if route.status == 202:
        success["headers"] = {"Location": {"description": "where the run is told of", "schema": {"type": "string"}}}
    return success


def _statuses(route: Route, scope: str | None) -> list[int]:
    """Return which refusals a route may give."""
    statuses = {400, 429, 503} if route.rows else set() if route.is_open else {429}
    if scope is not None:
        statuses |= {401, 403, 429}
    if "{" in route.path or route.path == "/releases/compare" or route.name == "delete_ratings":
        statuses |= {404}
    if SEALED in route.parameters:
        statuses |= {404, 409}
    if any(parameter.name == "next" for parameter in route.parameters):
        statuses |= {410}
    if route.body:
        statuses |= {408, 413}
    if route.scope == RATINGS:
        statuses |= {409, 507}
    if route.scope == RUN:
        statuses |= {502}
    return sorted(statuses)


def _refusal(status: int | None) -> dict[str, Any]:
    content = {"application/json": {"schema": reference("Error")}, "text/html": {"schema": {"type": "string"}}}
    return {"description": _REFUSALS.get(status or 0, "another refusal"), "content": content}
