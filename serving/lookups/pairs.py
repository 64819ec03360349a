"""/why and /predict: one user and one item, stored or not."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from schemas.errors import NotFound
from schemas.setting_groups import OFF
from serving.ids import known_item, path_id
from serving.lookups.recommend import unchanged
from serving.opened import iso, OpenRelease
from serving.request import Request
from serving.response import Response
from serving.rows import Listed, shown_reason
from serving.service import Service
from serving.solve import History, solve, solve_pairs, Solved
from serving.stored import encoded_reason

MOST_WITHOUT = 5
_HAS = "select 1 from ratings where user_id = ? and item_id = ?"
_PAIR = """select r.rank, r.item_id, r.score, r.predicted_rating, r.confidence, r.source from recommendations r
where r.user_id = ? and r.item_id = ?"""
_PAIR_REASONS = """select kind, evidence_id, contribution, detail from explanations
where user_id = ? and item_id = ? order by position"""


def why(service: Service, request: Request) -> Response | Awaitable[Response]:
    """The reasons of one score, as rows that sum to it: stored ones as stored, all others by the same kernel. With `without` also the place
    that the item would have in the list of a history that lacks one of those that count most."""
    answer = _why_of(service, request)
    return _with_places(service, request, answer) if request.values["without"] else answer


async def _with_places(service: Service, request: Request, answer: Response | Awaitable[Response]) -> Response:
    response, opened = answer if isinstance(answer, Response) else await answer, request.opened
    if not response.extra:  # the client has it already
        return response
    rows = response.rows if response.encoded is None else json.loads(response.encoded)
    most = [row["item_id"] for row in rows if row["kind"] == "history" and (row["contribution"] or 0) > 0][:MOST_WITHOUT]
    user = service.users.known_as(path_id(opened, request, "user_id"))
    seq = service.users.seq(request, opened, user)
    history = await service.threads.run_on(opened, service.users.held, opened, user, seq)
    rank, without = await service.threads.run_on(opened, _places, opened, history, response.extra["item_id"], most)
    response.extra["rank"] = rank
    response.extra["without"] = [
        {"item_id": item, "title": opened.title(item), "rank": rank_without} for item, rank_without in zip(most, without)
    ]
    return response


def _places(opened: OpenRelease, history: History, item: Any, most: list[Any]) -> tuple[int | None, list[int | None]]:
    """The place of an item in the list of a history, and in those of histories that lack one item each; None if it is not listed."""

    def place(left: History) -> int | None:
        return next((row.rank for row in solve(opened, left, n=opened.n, explain_n=0).rows if row.item_id == item), None)

    return place(history), [place({held: row for held, row in history.items() if held not in opened.same([one])}) for one in most]


def _why_of(service: Service, request: Request) -> Response | Awaitable[Response]:
    opened, item = request.opened, known_item(request.opened, request)
    user = service.users.known_as(path_id(opened, request, "user_id"))
    seq, reasons_n = service.users.seq(request, opened, user), request.values["n"]
    same = unchanged(service, request, opened, user, key="position") if user is not None and not seq else None
    if same is not None:
        return same
    if user is not None and not seq and not opened.hides(user, opened.n) and reasons_n in (None, opened.manifest.settings["reasons_n"]):
        connection = opened.of_user(user)
        reasons = connection.execute(_PAIR_REASONS, (user, item)).fetchall()
        entry = connection.execute(_PAIR, (user, item)).fetchone() if reasons else None
        if entry:
            return _stored(service, request, user, Listed(*entry), reasons)
    return _why_now(service, request, _known(service, request, user, seq), item, seq, reasons_n)


def _stored(service: Service, request: Request, user: Any, entry: Listed, reasons: list[tuple[Any, ...]]) -> Response:
    texts = [f'{{"position":{at},{encoded_reason(request.opened, *reason)}' for at, reason in enumerate(reasons, 1)]
    residual = sum(contribution for kind, _, contribution, _ in reasons if kind == "residual")
    is_rated = request.opened.repeats != OFF and request.opened.of_user(user).execute(_HAS, (user, entry.item_id)).fetchone() is not None
    response = _why(service, request, user, 0, entry, residual, is_stored=True, is_rated=is_rated, rated_as=None)
    response.encoded = f"[{','.join(texts)}]".encode()
    return response


async def _why_now(service: Service, request: Request, user: Any, item: Any, seq: int, reasons_n: int | None) -> Response:
    opened = request.opened
    solved = await _solve_pair(service, opened, user, item, seq, reasons_n)
    reasons = solved.reasons.get(item, [])
    residual = sum(reason.contribution or 0.0 for reason in reasons if reason.kind == "residual") if reasons else None
    response = _why(service, request, user, seq, solved.rows[0], residual, is_stored=False, **_has(opened, item, solved))
    response.rows = [{"position": place, **shown_reason(opened, reason)} for place, reason in enumerate(reasons, 1)]
    return response


def _why(
    service: Service,
    request: Request,
    user: Any,
    seq: int,
    entry: Listed,
    residual: float | None,
    *,
    is_stored: bool,
    is_rated: bool,
    rated_as: Any,
) -> Response:
    opened = request.opened
    stale = service.releases.is_stale(opened)
    return Response(
        key="position",
        extra={
            "user_id": path_id(opened, request, "user_id"),
            "is_known": user is not None,
            "item_id": entry.item_id,
            "title": opened.title(entry.item_id),
            "score": entry.score,
            "predicted_rating": entry.predicted_rating,
            "confidence": entry.confidence,
            "rank": entry.rank if is_stored else None,
            "residual": residual,
            "is_rated": is_rated,
            "rated_as": rated_as,
            "source": entry.source,
            "computed_at": opened.computed_at if is_stored else iso(service.now()),
            "personalized": entry.source == opened.served_model,
            "stale": stale,
        },
        tag=service.releases.personal_tag(opened, user, seq),
        is_personal=True,
        opened=opened,
    )


async def predict(service: Service, request: Request) -> Response:
    """Predict what the user would rate the item, inside the scale; null where the release has no ratings to learn from."""
    opened, item = request.opened, known_item(request.opened, request)
    user = service.users.known_as(path_id(opened, request, "user_id"))
    seq = service.users.seq(request, opened, user)
    user = _known(service, request, user, seq)
    solved = await _solve_pair(service, opened, user, item, seq, 0)
    entry = solved.rows[0]
    stale = service.releases.is_stale(opened)
    return Response(
        rows=[
            {
                "user_id": path_id(opened, request, "user_id"),
                "item_id": item,
                "title": opened.title(item),
                "predicted_rating": entry.predicted_rating,
                "score": entry.score,
                "confidence": entry.confidence,
                "source": entry.source,
                **_has(opened, item, solved),
                "is_blocked": opened.is_blocked(item),
            }
        ],
        extra={
            "source": entry.source,
            "computed_at": iso(service.now()),
            "personalized": entry.source == opened.manifest.served_model,
            "rating_scale": opened.manifest.rating_scale,
            "stale": stale,
        },
        tag=service.releases.personal_tag(opened, user, seq),
        is_personal=True,
        opened=opened,
    )


def _has(opened: OpenRelease, item: Any, solved: Solved) -> dict[str, Any]:
    """Whether the user has the item, and the other id under which they have it; either keeps it out of their list, unless it may come again."""
    others = opened.same([item]) - {item}
    return {"is_rated": item in solved.has, "rated_as": min(others & solved.has, default=None)}


def _known(service: Service, request: Request, user: Any, seq: int) -> Any:
    """The user, or None for one without any interaction. Raises NotFound instead where strict=1 asks for that."""
    if user is not None and (seq or request.opened.has_user(user)):
        return user
    if request.values["strict"]:
        raise NotFound(f"user {request.path['user_id'][:200]!r}: has no interaction in release {request.opened.id}")
    return None


async def _solve_pair(service: Service, opened: OpenRelease, user: Any, item: Any, seq: int, reasons_n: int | None) -> Solved:
    return await service.threads.run_on(
        opened, lambda: solve_pairs(opened, service.users.held(opened, user, seq), [item], reasons_n=reasons_n)
    )
