"""/why and /predict: one user and one item, stored or not."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from schemas.errors import NotFound
from serving.answers import Answer
from serving.call import Call
from serving.lookup import known_item
from serving.opened import iso, OpenRelease
from serving.rows import Listed, Reason, shown_reason, stored_reason
from serving.service import Service
from serving.solve import solve_pairs, Solved

_PAIR = """select r.rank, r.item_id, r.score, r.predicted_rating, r.confidence, r.source from recommendations r
where r.user_id = ? and r.item_id = ?"""
_PAIR_REASONS = """select item_id, kind, evidence_id, contribution, detail from explanations
where user_id = ? and item_id = ? order by position"""
_HAS = "select rating from ratings where user_id = ? and item_id = ?"


def why(service: Service, call: Call) -> Answer | Awaitable[Answer]:
    """The reasons of one score, as rows that sum to it: stored ones as stored, all others by the same kernel."""
    opened, user, item, seq = _pair(service, call)
    reasons_n = call.values["n"]
    if user is not None and not seq and reasons_n in (None, opened.manifest.settings["reasons_n"]):
        reasons = [stored_reason(opened, *found) for found in opened.connection.execute(_PAIR_REASONS, [user, item])]
        entry = opened.connection.execute(_PAIR, [user, item]).fetchone() if reasons else None
        if entry:
            return _why(service, call, opened, user, seq, Listed(*entry), reasons, is_stored=True, is_rated=False)
    return _why_now(service, call, opened, user, item, seq, reasons_n)


async def _why_now(
    service: Service, call: Call, opened: OpenRelease, user: Any, item: Any, seq: int, reasons_n: int | None
) -> Answer:
    found = await _solve_pair(service, opened, user, item, seq, reasons_n)
    return _why(
        service,
        call,
        opened,
        user,
        seq,
        found.rows[0],
        found.reasons.get(item, []),
        is_stored=False,
        is_rated=item in found.has,
    )


def _why(
    service: Service,
    call: Call,
    opened: OpenRelease,
    user: Any,
    seq: int,
    entry: Listed,
    reasons: list[Reason],
    *,
    is_stored: bool,
    is_rated: bool,
) -> Answer:
    rows = [{"position": place, **shown_reason(opened, reason)} for place, reason in enumerate(reasons, 1)]
    residual = sum(reason.contribution for reason in reasons if reason.kind == "residual") if reasons else None
    is_personal = entry.source == opened.manifest.served_model
    stale = service.is_stale(opened)
    return Answer(
        rows=rows,
        key="position",
        extra={
            "user_id": call.path["user_id"] if user is None else user,
            "is_known": user is not None,
            "item_id": entry.item_id,
            "title": opened.title(entry.item_id),
            "score": entry.score,
            "predicted_rating": entry.predicted_rating,
            "confidence": entry.confidence,
            "rank": entry.rank if is_stored else None,
            "residual": residual,
            "is_rated": is_rated,
            "source": entry.source,
            "computed_at": opened.computed_at if is_stored else iso(service.now()),
            "personalized": is_personal,
            "stale": stale,
        },
        tag=f"{opened.id}.{seq}{'.s' if stale else ''}",
        is_personal=True,
        opened=opened,
    )


async def predict(service: Service, call: Call) -> Answer:
    """What the user would rate the item, inside the scale; null where the release has no ratings to learn from."""
    opened, user, item, seq = _pair(service, call)
    found = await _solve_pair(service, opened, user, item, seq, 0)
    entry = found.rows[0]
    stale = service.is_stale(opened)
    return Answer(
        rows=[
            {
                "user_id": call.path["user_id"] if user is None else user,
                "item_id": item,
                "title": opened.title(item),
                "predicted_rating": entry.predicted_rating,
                "score": entry.score,
                "confidence": entry.confidence,
                "source": entry.source,
                "is_rated": item in found.has,
            }
        ],
        extra={
            "source": entry.source,
            "computed_at": iso(service.now()),
            "personalized": entry.source == opened.manifest.served_model,
            "rating_scale": opened.manifest.rating_scale,
            "stale": stale,
        },
        tag=f"{opened.id}.{seq}{'.s' if stale else ''}",
        is_personal=True,
        opened=opened,
    )


def _pair(service: Service, call: Call) -> tuple[OpenRelease, Any, Any, int]:
    opened = call.opened
    user = service.user_of(opened, call.path["user_id"])
    seq = service.user_seq(opened, user)
    if user is None or not (seq or opened.has_user(user)):
        if call.values["strict"]:
            raise NotFound(f"user {call.path['user_id'][:200]!r}: has no interaction in release {opened.id}")
        user = None
    return opened, user, known_item(opened, call.path["item_id"]), seq


async def _solve_pair(
    service: Service, opened: OpenRelease, user: Any, item: Any, seq: int, reasons_n: int | None
) -> Solved:
    return await service.run_on(
        opened, lambda: solve_pairs(opened, service.history(opened, user, seq), [item], reasons_n=reasons_n)
    )
