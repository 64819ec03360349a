"""JSON schemas of what is answered and sent: each kind of row once, with what stands beside the rows of its answer.

A field is written as its type: `integer`, `number`, `text`, `flag`, `time` (ISO 8601), `item` and `user` (ids of the release's
types), `any`, the name of another kind, each with ? where it may be null and [] where it is a list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.list_rows import DETAILS, FACTS, REASON, ROW, SCORED
from schemas.tables import EXPLANATION_KINDS, IdTypes
from serving.ids import MAX_ID
from serving.liked_genres import MOST_GENRES
from serving.sent import WEIGHTS

Schema = dict[str, Any]

_LISTED = {"source": "text", "computed_at": "time", "personalized": "flag", "stale": "flag"}
_NEIGHBOUR = {"rank": "integer", "item_id": "item", "title": "text", "similarity": "number", "source": "text"}
_PAIR = {"title": "text", **SCORED, "is_rated": "flag", "rated_as": "item?"}
_RELEASE = {
    **dict.fromkeys(("release", "status", "as_of", "input", "served_model"), "text"),
    **dict.fromkeys(("n_users", "n_items", "n_ratings", "n_recommendations", "bytes"), "integer"),
    **dict.fromkeys(("promoted_at", "promoted_reason", "rolled_back_at", "rolled_back_reason"), "text?"),
    "created_at": "time",
    "verdict": "any",
}
_MANIFEST = ("rows", "counts", "choice", "deciding_metric", "counted", "parity", "checks", "settings", "versions", "tables", "files")

# Kind of row: its fields, and the further keys of the answer that has such rows.
ROWS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "Endpoint": (
        dict.fromkeys(("method", "path", "summary"), "text"),
        {
            "computed_at": "time", "stale": "flag", "users": "any[]", "popular": "PopularItemRow[]", "counts": "any", "genres": "text[]",
            "trend": "any[]", "served_model": "text", "choice": "text",
        },
    ),
    "Recommendation": (
        ROW,
        {"user_id": "user?", "is_known": "flag", **_LISTED},
    ),
    "Contribution": (
        {"position": "integer", **REASON},
        {
            "user_id": "user", "is_known": "flag", "item_id": "item", **_PAIR, "rank": "integer?", "residual": "number?",
            **_LISTED,
        },
    ),
    "Prediction": (
        {"user_id": "user", "item_id": "item", **_PAIR, "is_blocked": "flag"},
        {"rating_scale": "number[]?", **_LISTED},
    ),
    "Item": (
        {
            "item_id": "item", "title": "text", "year": "integer?", "genres": "text[]", "tags": "text[]", "description": "text?",
            "n_ratings": "integer", "mean_rating": "number?", "ratings": "any[]", "n_lists": "integer", "n_first_tens": "integer",
            "best_rank": "integer?", "is_in_catalogue": "flag", "is_blocked": "flag", "same_item_id": "item?",
        },
        {"similar": "any", **_LISTED},
    ),
    "Neighbour": (_NEIGHBOUR, {"item_id": "item", "title": "text", **_LISTED}),
    "SetNeighbour": (_NEIGHBOUR, {"items": "any[]", "unusable": "item[]", "note": "text?", **_LISTED}),
    "Reached": (
        {
            "rank": "integer", "user_id": "user", "item_id": "item", "score": "number", "predicted_rating": "number?", "source": "text",
            "is_current": "flag",
        },
        {"item_id": "item", "title": "text", "n_lists": "integer", **_LISTED},
    ),
    "PopularItem": (
        {
            "rank": "integer", "item_id": "item", "title": "text", "score": "number", "n_ratings": "integer",
            "damped_mean": "number?",
        },
        {"genre": "text", **_LISTED},
    ),
    "Genre": ({"genre": "text", "n_items": "integer"}, _LISTED),
    "Rating": (
        {
            "item_id": "item", "title": "text?", "rating": "number?", "weight": "number", "rated_at": "integer?", "from": "text",
            "is_usable": "flag",
        },
        {"user_id": "user", "n_ratings": "integer", "profile": "any", "source": "text", "stale": "flag"},
    ),
    "Ranked": (
        ROW,
        {
            "user_id": "user?", "is_known": "flag", "excluded": "item[]", "unusable": "item[]", "n_history": "integer",
            "min_history": "integer", "note": "text?", **_LISTED,
        },
    ),
    "Played": (
        ROW,
        {
            "user_id": "user?", "is_known": "flag", "q": "text", "genres": "text[]", "rated": "any[]", "choices": "any[]", "stars": "number[]",
            "unusable": "item[]", "n_history": "integer", "min_history": "integer", "note": "text?", **_LISTED,
        },
    ),
    "Explored": (
        {"model": "text", "is_served": "flag", "value": "number?", "items": "any[]"},
        {
            "user_id": "user?", "is_known": "flag", "n_history": "integer", "history": "any[]", "overlap": "any[]", "users": "any[]",
            "metric": "text", "computed_at": "time", "stale": "flag",
        },
    ),
    "Found": (
        {
            "item_id": "item", "title": "text", "year": "integer?", "genres": "text", "n_ratings": "integer",
            "mean_rating": "number?",
        },
        {"q": "text", **_LISTED},
    ),
    "Written": (
        {
            "seq": "integer?", "status": "text", "user_id": "user", "item_id": "item", "rating": "number?", "rated_at": "integer",
            "is_usable": "flag",
        },
        {"sequence": "integer", "n_accepted": "integer", "n_duplicates": "integer"},
    ),
    "Measured": (
        {
            **dict.fromkeys(("release", "status", "model"), "text"), "created_at": "time", "is_served": "flag", "value": "number",
            "low": "number?", "high": "number?", "n_users": "integer",
        },
        {
            **dict.fromkeys(("protocol", "metric", "meaning", "source"), "text"),
            **dict.fromkeys(("metrics", "models", "verdicts"), "any[]"),
        },
    ),
    "Chart": (
        {**dict.fromkeys(("chart", "title", "description"), "text"), "rows": "any[]", "missing": "text?"},
        {"computed_at": "time", "stale": "flag", "counts": "any", "measured": "any[]", "source": "text"},
    ),
    "Refused": (
        {"reason": "text", "n_rows": "integer", "share": "number", "samples": "any[]"},
        {
            "n_read": "integer", "n_refused": "integer", "guard": "any", "source": "text",
            **dict.fromkeys(("releases", "checks", "not_sealed", "audit", "changes_since"), "any[]"),
        },
    ),
    "Hidden": (
        {"item_id": "any", "title": "text?", "same_items": "item[]", "at": "time", **dict.fromkeys(("status", "by", "reason"), "text")},
        {},
    ),
    "Build": (
        {"release": "text", "status": "text", "step": "text?", "since": "time?", "seconds_s": "number", "steps": "any[]"},
        {"source": "text"},
    ),
    "Release": ({"release": "text", "status": "text"}, {"source": "text"}),
    "Manifest": (
        {
            **_RELEASE, **dict.fromkeys(_MANIFEST, "any"), **dict.fromkeys(("models", "metrics", "steps"), "any[]"),
            "rating_scale": "number[]?", "checked": "text", "input_digest": "text", "before": "text?",
            "other_settings": "any[]",
        },
        {"source": "text"},
    ),
    "Figure": (
        {"figure": "text", "a": "any", "b": "any", "difference": "number?"},
        {"a": "text", "b": "text", "n_users": "integer", "mean_overlap_at_10": "number", "note": "text", "source": "text",
         "users_by_shared": "integer[]", "risen": "any[]", "fallen": "any[]", "other_settings": "any[]"},
    ),
    "Operation": (
        {
            **dict.fromkeys(("name", "method", "path", "tag", "summary", "description", "example", "curl", "python"), "text"),
            "scope": "text?", "parameters": "any[]",
        },
        {"computed_at": "time", "stale": "flag"},
    ),
    "Promotion": ({"release": "text", "previous": "text?", "status": "text"}, {}),
    "Run": ({"run": "text", "state": "text?", "started_at": "text?", "ended_at": "text?"}, {}),
    "Life": ({"status": "text"}, {}),
    "Readiness": (
        {
            "status": "text", "release": "text", "current": "text?", "problem": "text?", "computed_at": "time", "stale": "flag",
            "writes": "text",
        },
        {},
    ),
}  # fmt: skip
# Fields that some rows of a kind have, and others not; and keys beside them.
SOME = {
    **dict.fromkeys(("Recommendation", "Ranked", "Neighbour", "SetNeighbour", "PopularItem"), FACTS),
    "Contribution": DETAILS,
    "Release": {**_RELEASE, "message": "text"},
    "Figure": dict.fromkeys(("a_low", "a_high", "b_low", "b_high"), "number"),
    "Run": {"release": "text?", "message": "text?", "tasks": "any"},
}
SOME_BESIDE = {
    "Recommendation": {"genres": "text[]", "unusable": "item[]", "n_history": "integer", "min_history": "integer", "note": "text?"},
    "Contribution": {"without": "any[]"},
    "Neighbour": {"note": "text?"},
}

_AS_SEALED = {"as_sealed": "flag"}  # beside the rows of a release that was named
_ENVELOPE = {"ok": "true", "release": "text", "took_ms": "number", "next": "text?", "next_url": "text?"}
_PLAIN: dict[str, Schema] = {
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "text": {"type": "string"},
    "flag": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "true": {"const": True},
    "kind": {"type": "string", "enum": list(EXPLANATION_KINDS)},
    "any": {},
}
_NAMES = {"item": "ItemId", "user": "UserId"}
_ERROR = {"ok": {"const": False}, "error": {"type": "string"}, "status": {"type": "integer"}}


def components(ids: IdTypes, scale: tuple[float, float] | None, batch_n: int) -> dict[str, Schema]:
    """Every schema by name, as the release has it: its types of ids, and its ratings or none."""
    by_name = {
        "UserId": id_schema(ids, "user_id"),
        "ItemId": id_schema(ids, "item_id"),
        "Error": {"type": "object", "required": list(_ERROR), "properties": _ERROR},
        "Reason": _object(REASON, DETAILS),
        **_sent(ids, scale, batch_n),
    }
    for name, (row, beside) in ROWS.items():
        by_name[f"{name}Row"] = _object(row, SOME.get(name, {}))
        some = SOME_BESIDE.get(name, {}) | _AS_SEALED
        by_name[f"{name}Answer"] = _object(_ENVELOPE | beside | {"rows": f"{name}Row[]"}, some)
        by_name[f"{name}Columns"] = _object(_ENVELOPE | beside | {"columns": "text[]", "rows": "any[][]"}, some)
    return by_name


def shapes(name: str) -> Schema:
    """An answer in each of its shapes: `objects`, `arrays`, `array`, `arrayfirst` and `object`."""
    row = reference(f"{name}Row")
    scalar = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "null")]}
    return {
        "anyOf": [
            reference(f"{name}Answer"),
            reference(f"{name}Columns"),
            {"type": "array", "items": row},
            {"type": "array", "items": scalar},
            {"type": "object", "additionalProperties": row},
        ]
    }


def id_schema(ids: IdTypes, role: str) -> Schema:
    """An id, as it stands in a path, in a parameter and in an answer."""
    if getattr(ids, role) == "int64":
        return {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    return {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": "^[^\\u0000]*$"}


def _sent(ids: IdTypes, scale: tuple[float, float] | None, batch_n: int) -> dict[str, Schema]:
    """Describe what the routes take: interactions with ratings where the release has ratings, without where it has none."""
    names = {role: _sent_id(ids, role) for role in ("user_id", "item_id")}
    null, low_high = {"type": "null"}, {"minimum": WEIGHTS[0], "maximum": WEIGHTS[1]}
    rating = null if scale is None else {"type": "number", "minimum": scale[0], "maximum": scale[1]}
    weight = {"type": ["number", "null"], **low_high} if scale is None else null
    moment = [{"type": "integer", "minimum": 0}, {"type": "string", "format": "date-time", "pattern": _YEARS}]
    at = {
        "anyOf": moment,
        "description": "Unix seconds, or ISO 8601 with a zone, from 1970 to tomorrow",
    }
    values = {"rating": rating, "weight": weight, "rated_at": at | {"anyOf": [*moment, null]}}
    event = values if scale is None else values | {"rating": {"anyOf": [rating, null]}}
    needed = ["user_id", "item_id", *(["rating"] if scale is not None else [])]
    visited = {"item_id": names["item_id"], **event}
    candidates = {"type": "array", "items": names["item_id"], "minItems": 1, "maxItems": batch_n}
    visits = [{"type": "array", "items": reference(name), "maxItems": batch_n} for name in ("Visited", "VisitedAt")]
    genres = {"type": "array", "items": {"type": "string"}, "maxItems": MOST_GENRES}
    return {
        "NewRating": _strict(names | values, needed),
        "NewRatings": _one_or_more("NewRating", batch_n),
        "Pair": _strict(names | dict.fromkeys(values, {"description": "not looked at"}), ["user_id", "item_id"]),
        "Pairs": _one_or_more("Pair", batch_n),
        "Visited": _strict(visited | {"rated_at": null}, ["item_id"]),
        "VisitedAt": _strict(visited | {"rated_at": at}, ["item_id", "rated_at"]),
        "Session": {
            "anyOf": [
                _strict({"ratings": {"anyOf": visits}, "genres": genres}, ["ratings"]),
                _strict({"genres": genres | {"minItems": 1}}, ["genres"]),
            ]
        },
        "Candidates": {
            "anyOf": [
                _strict({"items": candidates, "user_id": names["user_id"]}, ["items", "user_id"]),
                _strict({"items": candidates, "ratings": {"anyOf": visits}}, ["items", "ratings"]),
            ]
        },
        "NewRun": _strict(
            {
                "models": {"type": ["array", "null"], "items": {"type": "string", "pattern": _MODEL}, "minItems": 1},
                "serve": {"type": ["string", "null"], "pattern": _MODEL},
                "promote": {"type": ["boolean", "null"]},
                "as_of": {"type": ["string", "null"], "format": "date-time"},
            },
            [],
        ),
    }


_YEARS = "^(19[7-9]|20[0-9])[0-9]-"
_MODEL = "^[a-z][a-z0-9_]{0,63}$"


def _sent_id(ids: IdTypes, role: str) -> Schema:
    """An id in a body; a whole number may be written as text, too."""
    plain = reference(_NAMES[role.removesuffix("_id")])
    as_text = {"type": "string", "pattern": "^(0|-?[1-9][0-9]{0,17})$"}
    return {"anyOf": [plain, as_text]} if getattr(ids, role) == "int64" else plain


def _one_or_more(name: str, most: int) -> Schema:
    several = {"type": "array", "items": reference(name), "minItems": 1, "maxItems": most}
    return {"anyOf": [reference(name), several, _strict({"ratings": several}, ["ratings"])]}


def _object(fields: dict[str, str], some: dict[str, str] | None = None) -> Schema:
    """An object that has the fields, and may have others: keys are added over time."""
    properties = {name: _typed(kind) for name, kind in (fields | (some or {})).items()}
    return {"type": "object", "required": list(fields), "properties": properties}


def _strict(properties: dict[str, Schema], required: Iterable[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _typed(kind: str) -> Schema:
    if kind.endswith("?"):
        plain = _typed(kind[:-1])
        return {**plain, "type": [plain["type"], "null"]} if set(plain) == {"type"} else {"anyOf": [plain, {"type": "null"}]}
    if kind.endswith("[]"):
        return {"type": "array", "items": _typed(kind[:-2])}
    return _PLAIN[kind] if kind in _PLAIN else reference(_NAMES.get(kind, kind))


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
