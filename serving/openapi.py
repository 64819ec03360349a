"""/openapi.json: the routes described for programs, from the same declarations that dispatch them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from serving.answers import Answer, compact
from serving.call import Call
from serving.service import Service

_PATH = {
    "user_id": "a user's id, percent-encoded",
    "item_id": "an item's id, percent-encoded",
    "release": "a release's id, `current` or `latest`",
    "run": "a run's id, percent-encoded",
}
_ENVELOPE = {
    "type": "object",
    "required": ["ok", "release", "took_ms", "rows", "next"],
    "properties": {
        "ok": {"const": True},
        "release": {"type": ["string", "null"]},
        "took_ms": {"type": "number"},
        "rows": {"type": "array", "items": {"type": "object"}},
        "next": {"type": ["string", "null"]},
        "next_url": {"type": ["string", "null"]},
    },
}
_ERROR = {
    "type": "object",
    "required": ["ok", "error", "status"],
    "properties": {"ok": {"const": False}, "error": {"type": "string"}, "status": {"type": "integer"}},
}
_ID = {"type": ["integer", "string"]}
_TIME = {
    "type": ["integer", "string"],
    "description": "Unix seconds, or ISO 8601 with a zone; the present where it is left out",
}


def _body(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": fields, "additionalProperties": False}


_VALUES = {
    "item_id": _ID,
    "rating": {"type": ["number", "null"]},
    "weight": {"type": ["number", "null"]},
    "rated_at": _TIME,
}
_RATING = _body({"user_id": _ID, **_VALUES}, ["user_id", "item_id"])
_PAIR = _body({"user_id": _ID, "item_id": _ID}, ["user_id", "item_id"])
_RUN = _body(
    {
        "models": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "serve": {"type": "string"},
        "promote": {"type": "boolean"},
        "as_of": {"type": "string", "format": "date-time"},
    },
    [],
)
_BODIES = {
    "Run": _RUN,
    "Ratings": {"oneOf": [_RATING, {"type": "array", "items": _RATING, "minItems": 1}]},
    "Pairs": {"oneOf": [_PAIR, {"type": "array", "items": _PAIR, "minItems": 1}]},
    "Session": _body({"ratings": {"type": "array", "items": _body(_VALUES, ["item_id"])}}, ["ratings"]),
}


async def describe(service: Service, call: Call) -> Answer:
    """OpenAPI 3.1, as a document of its own and not in the envelope."""
    text = await service.aside(call.opened, lambda: compact(document(service.routes)))
    return Answer(text=text, kind="application/json; charset=utf-8")


def document(routes) -> dict[str, Any]:
    """The description of a table of routes."""
    paths: dict[str, dict] = {}
    for route in routes:
        paths.setdefault("/openapi.json" if route.path == "/openapi" else route.path, {})[route.method.lower()] = (
            _operation(route)
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CineMatch",
            "version": version("cinematch"),
            "description": "Recommendations as rows, with the reasons that sum to each score.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Envelope": _ENVELOPE, "Error": _ERROR, **_BODIES},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route) -> dict[str, Any]:
    is_document = route.path in ("/metrics", "/openapi")
    parameters = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "description": _PATH[part[1:-1]],
            "schema": {"type": "string", "minLength": 1},
        }
        for part in route.segments
        if part[:1] == "{"
    ] + [
        {"name": p.name, "in": "query", "required": p.is_required, "description": p.description, "schema": p.schema()}
        for p in ([] if is_document else route.declared)
    ]
    success = {"application/json": {"schema": {} if is_document else {"$ref": "#/components/schemas/Envelope"}}}
    if route.path == "/metrics":
        success = {"text/plain": {"schema": {"type": "string"}}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": " ".join((route.handler.__doc__ or "").split()),
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": success},
            "default": {
                "description": "a refusal",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.body}"}}},
        }
    if route.needs_key:
        operation["security"] = [{"key": []}]
    return operation
