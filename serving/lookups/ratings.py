"""Ratings that come in, are overwritten or removed, and what a user has now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.errors import NotFound
from serving.ids import path_id
from serving.opened import OpenRelease
from serving.overlay import Written
from serving.request import Request, Token
from serving.response import RequestError, Response
from serving.sent import check_fields, checked_id, checked_rating, checked_time, json_of, rows_of
from serving.service import Service
from warehouse.overlay import Entry, Held, is_behind, removal

NOTHING = "Nothing of this request was written"
_FIELDS = ("user_id", "item_id", "rating", "weight", "rated_at")


async def post(service: Service, request: Request) -> Response:
    """Add ratings: one, or a list, or {ratings: [...]}. Sent again with the same time, a rating is the same rating."""
    entries, has_times = _sent(service, request)
    return _response(service, entries, await _written(service, request, entries, has_times))


async def put(service: Service, request: Request) -> Response:
    """Add ratings that replace whatever the user had of those items."""
    entries, has_times = _sent(service, request, is_overwrite=True)
    held = await _held(service, request, entries)
    ahead = [removal(entry, one) for entry, one in zip(entries, held) if one is not None and is_behind(entry, one)]
    written = await _written(service, request, ahead + entries, [True] * len(ahead) + has_times)
    return _response(service, entries, written[len(ahead) :])


async def delete(service: Service, request: Request) -> Response:
    """Remove ratings; the items may be recommended again. One that is not there is answered as `absent`; where none is there,
    it is a 404, and nothing is noted."""
    return await _delete(service, request, _sent(service, request, is_deleted=True)[0])


async def delete_one(service: Service, request: Request) -> Response:
    """Remove the rating that the path names; 404 where it is not there, and then nothing is noted."""
    user, item = (path_id(request.opened, request, role) for role in ("user_id", "item_id"))
    if service.users.is_forgotten(user):
        raise RequestError(f"user_id: this user asked to be forgotten. {NOTHING}", 403)
    now = int(time.time())
    return await _delete(service, request, [Entry(0, user, item, None, 0.0, now, now, True)])


async def _delete(service: Service, request: Request, entries: list[Entry]) -> Response:
    held = await _held(service, request, entries)
    there = [removal(entry, one) for entry, one in zip(entries, held) if one is not None]
    if not there:
        first = f"user {entries[0].user_id!r} has no rating of item {entries[0].item_id!r}"
        shown = first if len(entries) == 1 else f"none of these {len(entries)} ratings is there"
        raise NotFound(f"{shown[:300]}. {NOTHING}")
    written = iter(await _written(service, request, there, [True] * len(there)))
    return _response(service, entries, [next(written) if one is not None else None for one in held])


async def _held(service: Service, request: Request, entries: Sequence[Entry]) -> list[Held | None]:
    """Return what the users have now of each entry's item; a second entry of one item finds nothing left to replace."""
    opened = request.opened
    seqs = {entry.user_id: service.users.seq(request, opened, entry.user_id) for entry in entries}
    of_users = await service.threads.run_on(opened, lambda: {user: service.users.held(opened, user, seq) for user, seq in seqs.items()})
    return [of_users[entry.user_id].pop(entry.item_id, None) for entry in entries]


def _sent(service: Service, request: Request, *, is_overwrite: bool = False, is_deleted: bool = False) -> tuple[list[Entry], list[bool]]:
    """The entries of a body, and which of them brought their own time. Refused as a whole."""
    n_rows, now, entries, has_times = 1, int(time.time()), [], []
    try:
        rows = rows_of(json_of(request.body), service.settings.batch_n)
        n_rows = len(rows)
        for place, row in enumerate(rows):
            check_fields(row, place, _FIELDS)
            user, item = (checked_id(request.opened, row, place, role) for role in ("user_id", "item_id"))
            if service.users.is_forgotten(user):
                raise RequestError(f"row {place}: user_id: this user asked to be forgotten", 403)
            if is_deleted:
                entries.append(Entry(0, user, item, None, 0.0, now, now, True))
                continue
            rating, weight = checked_rating(request.opened, row, place)
            at = checked_time(row, place, now)
            entries.append(Entry(0, user, item, rating, weight, now if at is None else at, now, False, is_overwrite))
            has_times.append(at is not None)
    except RequestError as error:
        service.metrics.ratings["refused"] += n_rows
        raise RequestError(f"{error}. {NOTHING}", error.status, error.headers) from None
    return entries, has_times


async def _written(service: Service, request: Request, entries: Sequence[Entry], has_times: Sequence[bool]) -> list[Written]:
    service.guard.key_ratings.take(request.key, time.monotonic(), len(entries))
    if service.users.forgotten.problem is not None:  # a user who asked to be forgotten would be taken in again
        raise RequestError(f"ratings cannot be written: {service.users.forgotten.problem}", 503)
    try:
        written = await service.users.online.write(entries, has_times)
    except Exception:
        service.metrics.ratings["refused"] += len(entries)
        raise
    n_duplicates = sum(one.is_duplicate for one in written)
    service.metrics.ratings["accepted"] += len(written) - n_duplicates
    service.metrics.ratings["duplicate"] += n_duplicates
    return written


def _response(service: Service, entries: Sequence[Entry], written: Sequence[Written | None]) -> Response:
    """Say what became of each entry; one that was not written had nothing to remove."""
    opened = service.releases.current
    return Response(
        rows=[_row(opened, entry, one) for entry, one in zip(entries, written)],
        key="seq",
        opened=opened,
        extra={
            "sequence": max((one.seq for one in written if one is not None), default=0),
            "n_accepted": sum(one is not None and not one.is_duplicate for one in written),
            "n_duplicates": sum(one is not None and one.is_duplicate for one in written),
        },
    )


def _row(opened: OpenRelease, entry: Entry, one: Written | None) -> dict[str, Any]:
    if one is None:
        status = "absent"
    else:
        status = "duplicate" if one.is_duplicate else "deleted" if entry.is_deleted else "accepted"
    return {
        "seq": None if one is None else one.seq,
        "status": status,
        "user_id": entry.user_id,
        "item_id": entry.item_id,
        "rating": entry.rating,
        "rated_at": entry.rated_at,
        "is_usable": opened.number(entry.item_id) is not None,
    }


async def of_user(service: Service, request: Request) -> Response:
    """List what a user has now: the release's rows and what came in since, the newest first."""
    token = Token.parse(request.values["next"], "h") if request.values["next"] else None
    opened = service.releases.pinned(request, token) if token else request.opened
    user = service.users.known_as(path_id(opened, request, "user_id"))
    since = service.users.seq(request, opened, user)
    seq = min(token.seq, since) if token else since
    if user is None or not (since or opened.has_user(user)):
        raise NotFound(f"user {request.path['user_id'][:200]!r}: has no interaction in release {opened.id} and none online")
    after, n = token.rank if token else 0, request.values["n"]
    rows, n_ratings, profile = await service.threads.run_on(opened, _newest, service, opened, user, seq, after, n)
    return Response(
        rows=rows,
        next=Token("h", opened.id, seq, after + n).text() if after + n < n_ratings else None,
        is_personal=True,
        opened=opened,
        extra={
            "user_id": user,
            "n_ratings": n_ratings,
            "profile": profile,
            "source": "history",
            "stale": service.releases.is_stale(opened),
        },
        tag=service.releases.personal_tag(opened, user, seq),
    )


def _newest(
    service: Service, opened: OpenRelease, user: Any, seq: int, after: int, n: int
) -> tuple[list[dict[str, Any]], int, dict[str, Any]]:
    """The rows of a page, how many there are in all, and what all of them say of the user."""
    held: dict[Any, Held] = service.users.held(opened, user, seq)
    ordered = sorted(held.items(), key=lambda pair: (-(pair[1].rated_at or 0), str(pair[0])))
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
    return rows, len(ordered), _profile(opened, held)


def _profile(opened: OpenRelease, held: dict[Any, Held]) -> dict[str, Any]:
    """Count a history by rating and by genre, the genres of most items first."""
    ratings = Counter(one.rating for one in held.values() if one.rating is not None)
    numbers = np.array([number for number in map(opened.number, held) if number is not None], np.int64)
    n_items = opened.side.genres[numbers].getnnz(axis=0)
    return {
        "mean_rating": sum(rating * n for rating, n in ratings.items()) / ratings.total() if ratings else None,
        "ratings": [{"rating": rating, "n_ratings": n} for rating, n in sorted(ratings.items())],
        "genres": [{"genre": opened.genres[k], "n_items": int(n_items[k])} for k in np.argsort(-n_items, kind="stable") if n_items[k]],
    }
