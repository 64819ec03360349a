"""GET /playground: rate a few items, and the list and its reasons change with each. Nothing is stored; the address holds it all."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from serving.ids import asked_user, listed_items
from serving.liked_genres import solve_liked
from serving.lookups.items import popular_rows
from serving.lookups.recommend import encoded_rows, list_response, Page, source_of
from serving.lookups.search import titles
from serving.lookups.session import length
from serving.opened import iso, OpenRelease
from serving.request import Request
from serving.response import RequestError, Response
from serving.sent import checked_rating
from serving.service import Service
from warehouse.overlay import apply_log, Entry

MOST_RATED = 100
CHOICES = 12
STARS = 10  # a finer scale has five values to choose from


async def playground(service: Service, request: Request) -> Response:
    """The list of a history made up on the spot: `rated` names items, each with a rating where the release has ratings (`50:4.5`), the
    last as the newest. With `user_id` they stand behind what that user has. `q` finds items to rate; without it the most popular are
    offered. Items that the release does not know are left out (`unusable`). `genres` names genres that are liked: their items come first,
    as in a session."""
    opened, values, n = request.opened, request.values, request.values["n"]
    rated, genres = rated_of(opened, values["rated"]), list(dict.fromkeys(values["genres"]))
    asked = asked_user(opened, request)
    user = None if asked is None else service.users.known_as(asked)
    seq = service.users.seq(request, opened, user)
    encoded, source, n_known = await service.threads.run_on(opened, _solved, service, opened, user, seq, rated, genres, n)
    q = values["q"] or ""
    offered = await titles(service, opened, q, CHOICES + len(rated)) if q else popular_rows(opened, "", 0, CHOICES + len(rated))
    response = list_response(service, Page(opened, user, user, seq, (), {}, source, None, iso(service.now()), encoded))
    response.tag = None
    response.extra |= {
        "q": q,
        "genres": genres,
        "rated": [{"item_id": item, "title": opened.title(item), "rating": rating} for item, rating in rated.items()],
        "choices": [{name: row[name] for name in ("item_id", "title")} for row in offered if row["item_id"] not in rated][:CHOICES],
        "stars": stars(opened.manifest.rating_scale),
        "unusable": [item for item in rated if opened.number(item) is None],
        **length(opened, n_known),
    }
    return response


def _solved(
    service: Service, opened: OpenRelease, user: Any, seq: int, rated: Mapping[Any, float | None], genres: Sequence[str], n: int
) -> tuple[bytes, str, int]:
    """The JSON of the list, its source, and how many items of the history the release knows."""
    held = {} if user is None else service.users.held(opened, user, seq)
    first = int(time.time()) - len(rated)
    entries = [Entry(k + 1, "", item, rating, 1.0, first + k, first + k) for k, (item, rating) in enumerate(rated.items())]
    history = apply_log(held, entries, is_implicit=not opened.has_ratings)
    solved = solve_liked(opened, history, genres, n=n, explain_n=n)
    return encoded_rows(opened, solved.rows, solved.reasons), source_of(solved.rows), len(opened.known(history))


def rated_of(opened: OpenRelease, texts: Sequence[str]) -> dict[Any, float | None]:
    """Ratings by item, None where only the item is named; of an item that is named twice the last. Raises RequestError."""
    if len(texts) > MOST_RATED:
        raise RequestError(f"rated: {len(texts)} items, expected at most {MOST_RATED}")
    rated: dict[Any, float | None] = {}
    for place, text in enumerate(texts):
        name, rating = _parted(text) if opened.has_ratings else (text, None)
        (item,) = listed_items(opened, "rated", [name])
        value, _ = checked_rating(opened, {"rating": rating}, place, may_be_event=True)
        rated.pop(item, None)
        rated[item] = value
    return rated


def _parted(text: str) -> tuple[str, float | None]:
    """Id and rating of `id:rating`; the whole text is the id where no number follows the last colon."""
    name, colon, tail = text.rpartition(":")
    try:
        return (name, float(tail)) if colon else (text, None)
    except ValueError:
        return text, None


def stars(scale: Sequence[float] | None) -> list[float]:
    """Ratings to choose from: the whole numbers of the scale, or five values evenly over one that has too many or too few."""
    if scale is None:
        return []
    low, high = scale
    whole = range(math.ceil(low), math.floor(high) + 1)
    return [float(value) for value in whole] if 2 <= len(whole) <= STARS else [low + (high - low) * k / 4 for k in range(5)]
