"""POST /recommend/session: a list for a visitor who is stored nowhere, from the interactions in the body."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from schemas.setting_groups import OFF
from serving.filters import excluded_items
from serving.liked_genres import solve_liked
from serving.lookups.recommend import encoded_rows, list_response, Page, source_of
from serving.opened import iso, OpenRelease
from serving.parameters import MANY_ROWS
from serving.request import Request
from serving.response import RequestError, Response
from serving.sent import check_fields, checked_id, checked_rating, checked_rows, checked_time, json_of
from serving.service import Service
from serving.solve import History
from warehouse.overlay import Entry, visitor_history

LONG_BODY = 8 << 10
_FIELDS = ("item_id", "rating", "weight", "rated_at")


async def recommend(service: Service, request: Request) -> Response:
    """Answer with the list of a history, as a stored user of that history would get it. Rows have their times (`rated_at`), rows of one time being one
    moment, or none has, and then they stand in the order of time, the oldest first; where the release has no times, all are one
    moment. A row without a rating is an event: it counts for what the visitor chose, not for how they rate. Items that the
    release does not know are left out (`unusable`); with fewer than `min_history` others the list is not personal, and `note`
    says so. Beside or instead of a history `genres` names what somebody likes who has just signed up: items of one of them come first, by
    the model where the history is long enough, then by popularity, and only behind them all others; `source` says it of each row."""
    opened, n = request.opened, request.values["n"]
    arguments = request.body, service.settings.batch_n, n, dict(request.values)
    is_long = n > MANY_ROWS or len(request.body) > LONG_BODY or len(request.values["exclude"]) > MANY_ROWS
    encoded, source, unusable, n_known, genres = await service.threads.made(opened, _solved, *arguments, is_long=is_long)
    response = list_response(service, Page(opened, None, None, 0, (), {}, source, None, iso(service.now()), encoded))
    response.tag = None
    response.extra |= {"genres": genres, "unusable": unusable, **length(opened, n_known)}
    return response


def _solved(
    opened: OpenRelease, body: bytes, limit: int, n: int, values: Mapping[str, Any]
) -> tuple[bytes, str, list[Any], int, list[str]]:
    """The list of a body's history as JSON, its source, the items that the release does not know, how many it does, and the genres that
    are liked."""
    content = json_of(body)
    genres = _liked(content)
    rows = history_of(opened, {"ratings": [], **content} if genres else content, limit, ("genres",))
    solved = solve_liked(opened, rows, genres, n=n, excluded=excluded_items(opened, values), explain_n=n)
    unusable = [item for item in rows if opened.number(item) is None]
    return encoded_rows(opened, solved.rows, solved.reasons), source_of(solved.rows), unusable, len(opened.known(rows)), genres


def _liked(content: Any) -> list[str]:
    """The genres that a body names, each once. Raises RequestError if they are not written so."""
    genres = content.get("genres", []) if isinstance(content, dict) else []
    if not isinstance(genres, list) or not all(isinstance(genre, str) for genre in genres):
        raise RequestError("genres: expected a list of names of genres, as /genres has them")
    return list(dict.fromkeys(genres))


def history_of(opened: OpenRelease, content: Any, limit: int, beside: Collection[str] = ()) -> History:
    """A body's rows, folded as a stored user's are; `beside` names what may stand there too. Raises RequestError naming the row and the
    field."""
    if not (isinstance(content, dict) and set(content) - set(beside) == {"ratings"} and isinstance(content["ratings"], list)):
        more = "".join(f", {name}?" for name in beside)
        raise RequestError(f"the body: expected {{ratings: [{{item_id, rating, rated_at?}}, ...]{more}}}")
    given, now, entries, times = checked_rows(content["ratings"], limit), int(time.time()), [], []
    for place, row in enumerate(given):
        check_fields(row, place, _FIELDS)
        item = checked_id(opened, row, place, "item_id")
        rating, weight = checked_rating(opened, row, place, may_be_event=True)
        times.append(checked_time(row, place, now))
        entries.append(Entry(place + 1, "", item, rating, weight, 0, now))
    n_times = sum(at is not None for at in times)
    if 0 < n_times < len(given):
        place = times.index(None)
        raise RequestError(
            f"row {place}: rated_at: is missing, and {n_times} of {len(given)} rows have it; expected in all rows or in none"
        )
    if not n_times:
        times = [*range(len(given))] if opened.has_times else [0] * len(given)
    timed = [entry._replace(rated_at=at or 0) for entry, at in zip(entries, times)]
    return visitor_history(timed, is_implicit=not opened.has_ratings)


def length(opened: OpenRelease, n: int) -> dict[str, Any]:
    """Return how long the history is and has to be, and a sentence if it is too short."""
    least = max(opened.manifest.settings["min_history"], 1) if opened.repeats == OFF else 1
    note = f"{n} of the items are known here, and a list of one's own takes {least} (min_history): these are popular items"
    return {"n_history": n, "min_history": least, "note": note if n < least else None}
