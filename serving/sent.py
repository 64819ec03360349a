"""Interactions that a request sends: read from its body, and checked row by row. A refusal names the row and the field."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from serving.ids import expected, sent_id
from serving.opened import OpenRelease
from serving.response import RequestError

DAY = 86_400
WEIGHTS = (1e-9, 1e9)


def json_of(body: bytes) -> Any:
    """Return the body as JSON. Raises RequestError if it is not."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body: expected JSON in UTF-8 ({str(error)[:100]})") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def rows_of(content: Any, limit: int) -> list[dict[str, Any]]:
    """The rows of a body: one object, a list of them, or {ratings: [...]}."""
    if isinstance(content, dict) and set(content) == {"ratings"}:
        content = content["ratings"]
    rows = [content] if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise RequestError("the body: expected a rating {user_id, item_id, rating, rated_at?}, or a list of at least one")
    return checked_rows(rows, limit)


def checked_rows(rows: list[Any], limit: int) -> list[dict[str, Any]]:
    """The rows as they are. Raises RequestError if they are too many, or one is no object."""
    if len(rows) > limit:
        raise RequestError(f"the body: {len(rows)} ratings, expected at most {limit} in one request", 413)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(f"row {place}: expected an object, got {_shown(row)}")
    return rows


def check_fields(row: dict[str, Any], place: int, known: Collection[str]) -> None:
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise RequestError(f"row {place}: {unknown[0][:100]}: is not a field of a rating here; there are {', '.join(sorted(known))}")


def checked_id(opened: OpenRelease, row: dict[str, Any], place: int, role: str) -> int | str:
    """An id of the release's type."""
    parsed = sent_id(opened, role, row.get(role))
    if parsed is None:
        raise _bad(place, role, f"expected {expected(opened, role)}", row.get(role))
    return parsed


def checked_rating(opened: OpenRelease, row: dict[str, Any], place: int, *, may_be_event: bool = False) -> tuple[float | None, float]:
    """Rating and weight: the one where the release has ratings, the other where it has none. An event has no rating."""
    scale = opened.manifest.rating_scale
    if scale is None:
        if row.get("rating") is not None:
            raise _bad(place, "rating", "expected none: this release learns from interactions without ratings", row["rating"])
        return None, 1.0 if row.get("weight") is None else _number(row["weight"], place, "weight", *WEIGHTS)
    if row.get("weight") is not None:
        raise _bad(place, "weight", "expected none: this release learns from ratings", row["weight"])
    if may_be_event and row.get("rating") is None:
        return None, 1.0
    return _number(row.get("rating"), place, "rating", *scale), 1.0


def _number(value: Any, place: int, name: str, low: float, high: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # neither NaN nor a whole number of 400 digits lies between
        raise _bad(place, name, f"expected a number from {low:g} to {high:g}", value)
    return float(value)


def checked_time(row: dict[str, Any], place: int, now: int) -> int | None:
    """rated_at as Unix seconds, given so or as ISO 8601 with a zone; None if it is not given."""
    value = row.get("rated_at")
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            value = int(moment.timestamp()) if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            value = None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= now + DAY:
        raise _bad(place, "rated_at", "expected Unix seconds or ISO 8601 with a zone, from 1970 to tomorrow", row["rated_at"])
    return value


def _bad(place: int, name: str, what: str, value: Any) -> RequestError:
    return RequestError(f"row {place}: {name}: {what}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value as a refusal quotes it. Python writes no whole number of more than 4,300 digits."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return f"a whole number of {value.bit_length()} bits"
    return ascii(value)[:100] if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
