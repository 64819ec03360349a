"""POST /rank: an application's own candidates, scored for a user or a visitor and put into order, each with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.errors import NotFound
from schemas.setting_groups import OFF, ONLY
from serving.ids import expected, sent_id
from serving.lookups.recommend import encoded_rows, list_response, Page, source_of
from serving.lookups.session import history_of, length, LONG_BODY
from serving.opened import iso, OpenRelease
from serving.request import Request
from serving.response import RequestError, Response
from serving.sent import json_of
from serving.service import Service
from serving.solve import History, solve_pairs

_IS_BLOCKED = "select is_blocked from items where item_id = ?"


async def rank(service: Service, request: Request) -> Response:
    """Put `items` into the order that a user's list would have them in: of `user_id`, or of a visitor's `ratings` as /recommend/session
    takes them. What the user has already, under any id, and what no list may hold is left out (`excluded`), where `repeats` is `only` what
    the user does not have, and what the release does
    not know (`unusable`). An item that the model knows nothing about stands behind the others, by its popularity."""
    opened, body, limit = request.opened, request.body, service.settings.batch_n
    threads, is_long = service.threads, len(request.body) > LONG_BODY
    items, asked, history = await threads.made(opened, _sent, body, limit, is_long=is_long)
    user = service.users.known_as(asked)
    seq = service.users.seq(request, opened, user)
    is_known = user is not None and (seq > 0 or opened.has_user(user))
    if asked is not None:
        if request.values["strict"] and not is_known:
            raise NotFound(f"user {str(asked)[:200]!r}: has no interaction in release {opened.id}")
        history = await threads.run_on(opened, service.users.held, opened, user, seq)
    encoded, source, excluded, unusable, n_known = await threads.made(opened, _ranked, history, items, is_long=is_long)
    page = Page(opened, asked, user if is_known else None, seq, (), {}, source, None, iso(service.now()), encoded)
    response = list_response(service, page)
    response.tag = None
    response.extra |= {"excluded": excluded, "unusable": unusable, **length(opened, n_known)}
    return response


def _sent(opened: OpenRelease, body: bytes, limit: int) -> tuple[list[Any], Any, History]:
    """The candidates, and the user or the visitor's history. Raises RequestError naming what does not fit."""
    content = json_of(body)
    whom = ("user_id", "ratings")
    if (
        not isinstance(content, dict)
        or not set(content) <= {"items", *whom}
        or "items" not in content
        or sum(name in content for name in whom) != 1
    ):
        raise RequestError("the body: expected {items: [...], user_id} or {items: [...], ratings: [{item_id, rating, rated_at?}, ...]}")
    items = content["items"]
    if not isinstance(items, list) or not 0 < len(items) <= limit:
        raise RequestError(f"items: expected a list of 1 to {limit} ids")
    parsed = dict.fromkeys(_checked(opened, "item_id", item, f"items, place {place}") for place, item in enumerate(items))
    if "user_id" in content:
        return list(parsed), _checked(opened, "user_id", content["user_id"], "user_id"), {}
    return list(parsed), None, history_of(opened, {"ratings": content["ratings"]}, limit)


def _checked(opened: OpenRelease, role: str, value: Any, where: str) -> int | str:
    parsed = sent_id(opened, role, value)
    if parsed is None:
        raise RequestError(f"{where}: expected {expected(opened, role)}")
    return parsed


def _ranked(opened: OpenRelease, history: History, items: Sequence[Any]) -> tuple[bytes, str, list[Any], list[Any], int]:
    """The JSON of the rows in their order and the source of the first; what is left out, what is not known, and how many items of the
    history are known."""
    known = opened.known(items)
    unusable = [item for item in items if opened.number(item) is None]
    left_out = opened.hidden if opened.repeats != OFF else opened.same(history) | opened.hidden
    wanted = set(history if opened.repeats == ONLY else known)
    excluded = [
        item for item in known if item in left_out or item not in wanted or opened.reader().execute(_IS_BLOCKED, [item]).fetchone()[0]
    ]
    left = [item for item in known if item not in set(excluded)]
    solved = solve_pairs(opened, history, left) if left else None
    rows = (
        []
        if solved is None
        else sorted(solved.rows, key=lambda row: (row.source != opened.served_model, -row.score, opened.number(row.item_id)))
    )
    ranked = [row._replace(rank=place) for place, row in enumerate(rows, 1)]
    encoded = encoded_rows(opened, ranked, {} if solved is None else solved.reasons)
    return encoded, source_of(ranked), excluded, unusable, len(opened.known(history))
