"""Ratings that come in: read from a body, checked as a whole, written, and what a user has now."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime
from typing import Any

from schemas.errors import NotFound
from serving.answers import Answer, RequestError
from serving.call import Call, Token
from serving.opened import OpenRelease
from serving.service import Service
from warehouse.overlay import Entry, Held

DAY = 86_400
MAX_ID = 1_000
_FIELDS = {"user_id", "item_id", "rating", "weight", "rated_at"}


async def post(service: Service, call: Call) -> Answer:
    """Add ratings: one, or a list, or {ratings: [...]}. Sent again with the same time, a rating is the same rating."""
    return await _write(service, call, is_overwrite=False)


async def put(service: Service, call: Call) -> Answer:
    """Add ratings that replace whatever the user had of those items."""
    return await _write(service, call, is_overwrite=True)


async def delete(service: Service, call: Call) -> Answer:
    """Remove ratings; the items may be recommended again."""
    return await _write(service, call, is_deleted=True)


async def delete_one(service: Service, call: Call) -> Answer:
    """Remove the rating that the path names."""
    opened = call.opened
    now = int(time.time())
    user, item = _path_id(opened, call, "user_id"), _path_id(opened, call, "item_id")
    return await _written(service, call, [Entry(0, user, item, None, 0.0, now, now, True)], [True])


def _path_id(opened: OpenRelease, call: Call, role: str) -> Any:
    found = opened.ids.parse(role, call.path[role])
    if found is None:
        raise RequestError(
            f"{role}: {call.path[role][:100]!r} is not an id of release {opened.id}, whose ids are whole numbers"
        )
    return found


async def _write(service: Service, call: Call, *, is_overwrite: bool = False, is_deleted: bool = False) -> Answer:
    rows = rows_of(json_of(call.body), service.settings.batch_n)
    now = int(time.time())
    entries = []
    try:
        for place, row in enumerate(rows):
            entry = _entry(call.opened, row, place, now, is_overwrite=is_overwrite, is_deleted=is_deleted)
            if service.is_forgotten(entry.user_id):
                raise RequestError(
                    f"row {place}: user_id: this user asked to be forgotten. Nothing of this request was written", 403
                )
            entries.append(entry)
    except RequestError:
        service.metrics.ratings["refused"] += len(rows)
        raise
    return await _written(service, call, entries, [row.get("rated_at") is not None for row in rows])


async def _written(service: Service, call: Call, entries: list[Entry], has_times: list[bool]) -> Answer:
    service.limit(call.key, len(entries))
    try:
        written = await service.writer.write(entries, has_times)
    except Exception:
        service.metrics.ratings["refused"] += len(entries)
        raise
    n_duplicates = sum(one.is_duplicate for one in written)
    service.metrics.ratings["accepted"] += len(written) - n_duplicates
    service.metrics.ratings["duplicate"] += n_duplicates
    opened = service.current
    rows = [
        {
            "seq": one.seq,
            "status": "duplicate" if one.is_duplicate else "deleted" if entry.is_deleted else "accepted",
            "user_id": entry.user_id,
            "item_id": entry.item_id,
            "rating": entry.rating,
            "rated_at": entry.rated_at,
            "is_usable": opened.number(entry.item_id) is not None,
        }
        for entry, one in zip(entries, written)
    ]
    return Answer(
        rows=rows,
        key="seq",
        opened=opened,
        extra={
            "sequence": max((one.seq for one in written), default=0),
            "n_accepted": len(written) - n_duplicates,
            "n_duplicates": n_duplicates,
        },
    )


def json_of(body: bytes) -> Any:
    """The body as JSON. Raises RequestError where it is not."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body: expected JSON in UTF-8 ({str(error)[:100]})") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def rows_of(found: Any, limit: int) -> list[dict]:
    """The ratings of a body: one object, a list of them, or {ratings: [...]}."""
    if isinstance(found, dict) and set(found) == {"ratings"}:
        found = found["ratings"]
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list) or not rows:
        raise RequestError(
            "the body: expected a rating {user_id, item_id, rating, rated_at?}, or a list of at least one"
        )
    if len(rows) > limit:
        raise RequestError(f"the body: {len(rows)} ratings, expected at most {limit} in one request", 413)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(
                f"row {place}: expected an object, got {_shown(row)}; nothing of this request was written"
            )
    return rows


def _entry(opened: OpenRelease, row: dict, place: int, now: int, *, is_overwrite: bool, is_deleted: bool) -> Entry:
    """One row, checked. Raises RequestError naming the row and the field."""
    unknown = sorted(set(row) - _FIELDS)
    if unknown:
        raise _bad(place, unknown[0], "is not a field of a rating", row[unknown[0]], sorted(_FIELDS))
    user, item = (checked_id(opened, row, place, role) for role in ("user_id", "item_id"))
    if is_deleted:
        return Entry(0, user, item, None, 0.0, now, now, True)
    rating, weight = checked_rating(opened, row, place)
    return Entry(0, user, item, rating, weight, _time(row, place, now), now, False, is_overwrite)


def checked_id(opened: OpenRelease, row: dict, place: int, role: str) -> int | str:
    """An id of the release's type: a JSON number where ids are whole numbers (or its text), text where they are text."""
    value = row.get(role)
    if getattr(opened.ids, role) == "int64":
        found = opened.ids.parse(role, value) if isinstance(value, str) else value
        if isinstance(found, bool) or not isinstance(found, int) or not -(2**63) <= found < 2**63:
            raise _bad(place, role, "expected a whole number, as all ids of this release are", value)
        return found
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_ID and "\0" not in value
    if not is_text or any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad(place, role, f"expected text of 1 to {MAX_ID} characters, as all ids of this release are", value)
    return value


def checked_rating(opened: OpenRelease, row: dict, place: int) -> tuple[float | None, float]:
    """Rating and weight: the one where the release has ratings, the other where it has none."""
    scale = opened.manifest.rating_scale
    if scale is None:
        if row.get("rating") is not None:
            raise _bad(
                place, "rating", "expected none: this release learns from interactions without ratings", row["rating"]
            )
        return None, _number(row.get("weight", 1.0), place, "weight", 1e-9, 1e9)
    if row.get("weight") is not None:
        raise _bad(place, "weight", "expected none: this release learns from ratings", row["weight"])
    return _number(row.get("rating"), place, "rating", *scale), 1.0


def _number(value: Any, place: int, name: str, low: float, high: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise _bad(place, name, f"expected a number from {low:g} to {high:g}", value)
    return float(value)


def _time(row: dict, place: int, now: int) -> int:
    """rated_at as Unix seconds, given so or as ISO 8601 with a zone; the present where it is not given."""
    value = row.get("rated_at")
    if value is None:
        return now
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            value = int(moment.timestamp()) if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            value = None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= now + DAY:
        raise _bad(
            place, "rated_at", "expected Unix seconds or ISO 8601 with a zone, from 1970 to tomorrow", row["rated_at"]
        )
    return value


def _bad(place: int, name: str, what: str, value: Any, known: list[str] | None = None) -> RequestError:
    known_text = f"; it has {', '.join(known)}" if known else f", got {_shown(value)}"
    return RequestError(f"row {place}: {name[:100]}: {what}{known_text}. Nothing of this request was written")


def _shown(value: Any) -> str:
    return ascii(value)[:100] if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


async def of_user(service: Service, call: Call) -> Answer:
    """What a user has now: the release's rows and what came in since, the newest first."""
    opened = call.opened
    user = service.user_of(opened, call.path["user_id"])
    token = Token.parse(call.values["next"], "h") if call.values["next"] else None
    seq = token.seq if token else service.user_seq(opened, user)
    if user is None or not (seq or opened.has_user(user)):
        raise NotFound(
            f"user {call.path['user_id'][:200]!r}: has no interaction in release {opened.id} and none online"
        )
    held: dict[Any, Held] = await service.run_on(opened, service.held, opened, user, seq)
    ordered = sorted(held.items(), key=lambda pair: (-(pair[1].rated_at or 0), str(pair[0])))
    after, n = token.rank if token else 0, call.values["n"]
    rows = [
        {
            "item_id": item,
            "title": opened.title(item),
            "rating": one.rating,
            "weight": one.weight,
            "rated_at": one.rated_at,
            "from": "online" if one.seq else "release",
            "is_usable": opened.number(item) is not None,
        }
        for item, one in ordered[after : after + n]
    ]
    has_more = after + n < len(ordered)
    return Answer(
        rows=rows,
        next=Token("h", opened.id, seq, after + n).text() if has_more else None,
        is_personal=True,
        opened=opened,
        extra={"user_id": user, "n_ratings": len(ordered), "source": "history", "stale": service.is_stale(opened)},
        tag=f"{opened.id}.{seq}",
    )
