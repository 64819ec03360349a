"""/recommend: rows read from the release, or solved where the release cannot have them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from schemas.errors import NotFound
from schemas.setting_groups import OFF
from serving.filters import excluded_items, is_filtered
from serving.ids import path_id
from serving.opened import iso, OpenRelease
from serving.parameters import MANY_ROWS, MAX_N
from serving.request import Request, Token
from serving.response import Response, rows_json
from serving.rows import Listed, Reason, row, stored_reason
from serving.service import Service
from serving.solve import History, solve, solve_or_popular, solve_pairs, Solved
from serving.stored import encoded_list, ready_list, stored_list


def recommend(service: Service, request: Request) -> Response | Awaitable[Response]:
    """A user's list: stored where nothing came in since, otherwise solved from the full history."""
    token = Token.parse(request.values["next"], "r") if request.values["next"] else None
    opened = service.releases.pinned(request, token) if token else request.opened
    asked = path_id(opened, request, "user_id")
    user = service.users.known_as(asked)
    since = service.users.seq(request, opened, user)
    seq = min(token.seq, since) if token else since
    after, n = token.rank if token else 0, request.values["n"]
    filtered = is_filtered(request.values) or opened.hides(user, after + n)
    if user is not None and not seq and not since and not filtered and after + n <= opened.n:
        same = unchanged(service, request, opened, user)
        if same is not None:
            return same
        page = _stored(opened, user, after, n)
        if page.encoded is not None:
            return list_response(service, page)
        if page.rows:
            return _with_all_reasons(service, page) if opened.manifest.settings["explain_n"] else list_response(service, page)
    is_known = user is not None and (since > 0 or opened.has_user(user))
    if not is_known and request.values["strict"]:
        raise NotFound(
            f"user {request.path['user_id'][:200]!r}: has no interaction in release {opened.id}; without strict=1 the fallback is given"
        )
    return _solved(service, request, opened, asked, user if is_known else None, seq, after, filtered)


def recommend_asked(service: Service, request: Request) -> Response | Awaitable[Response]:
    """The list of the user that a parameter names, as a form sends it."""
    return recommend(service, replace(request, path={"user_id": request.values["user_id"]}))


def unchanged(service: Service, request: Request, opened: OpenRelease, user: Any, **fields: Any) -> Response | None:
    """Return the answer to somebody who has already what is stored of a user without new ratings: nothing has to be read for it."""
    if request.if_none_match is None or request.values["strict"]:
        return None
    tag = service.releases.personal_tag(opened, user, 0)
    return Response(tag=tag, is_personal=True, opened=opened, **fields) if request.has(tag) else None


class Page(NamedTuple):
    """The rows of one page, or their JSON, the source of the first and where the next page begins; `computed_at` is None
    for what the batch computed, `since` is given where what the user got after `seq` was left out."""

    opened: OpenRelease
    asked: Any
    user: Any
    seq: int
    rows: Sequence[Listed]
    reasons: dict[Any, list[Reason]]
    source: str
    next: int | None
    computed_at: str | None = None
    encoded: bytes | None = None
    since: int | None = None


def next_rank(after: int, n: int, n_found: int) -> int | None:
    """The position that a full page reached, where there may be another."""
    return after + n if n_found == n and after + n < MAX_N else None


def source_of(rows: Sequence[Listed]) -> str:
    """Return the source of a list; what the model ranked stands before every fallback."""
    return rows[0].source if rows else "none"


def _stored(opened: OpenRelease, user: Any, after: int, n: int) -> Page:
    """A page as it is stored, and its JSON where it is ready or every row has its reasons."""
    if not after and n <= opened.ready_n:
        ready = ready_list(opened, user, n)
        if ready is not None:
            reached = next_rank(after, n, ready.n_rows)
            return Page(opened, user, user, 0, (), {}, ready.source, reached, None, ready.text)
    entries, explanations = stored_list(opened, user, after, n)
    rows = [Listed(*entry) for entry in entries]
    page = Page(opened, user, user, 0, rows, {}, source_of(rows), next_rank(after, n, len(rows)))
    encoded = encoded_list(opened, entries, explanations) if rows else None
    if encoded is not None:
        return page._replace(encoded=encoded)
    return page._replace(reasons=_grouped(stored_reason(opened, *row) for row in explanations))


def _grouped(reasons: Iterable[Reason]) -> dict[Any, list[Reason]]:
    grouped: dict[Any, list[Reason]] = {}
    for reason in reasons:
        grouped.setdefault(reason.item_id, []).append(reason)
    return grouped


async def _with_all_reasons(service: Service, page: Page) -> Response:
    """Only the head of a list is stored with reasons; those of the rest are computed when somebody looks."""
    missing = [entry.item_id for entry in page.rows if entry.item_id not in page.reasons]
    solved: Solved = await service.threads.run_on(page.opened, _pairs_of, service, page, missing)
    return await whole_response(service, page._replace(reasons=page.reasons | solved.reasons))


def _pairs_of(service: Service, page: Page, items: list[Any]) -> Solved:
    return solve_pairs(page.opened, service.users.held(page.opened, page.user, page.seq), items)


async def _solved(
    service: Service,
    request: Request,
    opened: OpenRelease,
    asked: Any,
    user: Any,
    seq: int,
    after: int,
    filtered: bool,
) -> Response:
    n = request.values["n"]
    wanted = max(min(after + n, MAX_N), opened.n)
    computed_at = iso(service.now()) if seq or filtered else None
    since = service.users.seq(request, opened, user) if request.values["next"] else None
    # what the user got since the first page is in that list still, and may not be shown
    now_has = frozenset() if since is None or opened.repeats != OFF else opened.same(service.users.items_since(user, seq, since))
    if n > MANY_ROWS or len(request.values["exclude"]) > MANY_ROWS:
        history = await service.threads.run_on(opened, service.users.held, opened, user, seq)
        arguments = history, wanted, dict(request.values), after, n, now_has
        encoded, source, n_found = await service.threads.long(opened, _long_list, *arguments)
        reached = next_rank(after, n, n_found)
        return list_response(service, Page(opened, asked, user, seq, (), {}, source, reached, computed_at, encoded, since))
    if filtered:
        solved = await service.threads.run_on(
            opened,
            lambda: solve(
                opened,
                service.users.held(opened, user, seq),
                n=wanted,
                excluded=excluded_items(opened, request.values),
            ),
        )
    else:
        solved = await service.users.solved(opened, user, seq, wanted)
    rows = solved.rows[after : after + n]
    reached = next_rank(after, n, len(rows))
    rows = [entry for entry in rows if entry.item_id not in now_has]
    page = Page(opened, asked, user, seq, rows, solved.reasons, source_of(rows), reached, computed_at, since=since)
    if any(entry.item_id not in solved.reasons for entry in rows) and opened.manifest.settings["explain_n"]:
        return await _with_all_reasons(service, page)
    return await whole_response(service, page)


def _long_list(
    opened: OpenRelease, history: History, wanted: int, values: Mapping[str, Any], after: int, n: int, now_has: frozenset[Any]
) -> tuple[bytes, str, int]:
    """The JSON of a long page, each row with its reasons; its source, and how many rows there are before what the user got since is
    left out."""
    explain_n = wanted if opened.manifest.settings["explain_n"] else 0
    solved = solve_or_popular(opened, history, n=wanted, excluded=excluded_items(opened, values), explain_n=explain_n)
    rows = solved.rows[after : after + n]
    shown = [entry for entry in rows if entry.item_id not in now_has]
    return encoded_rows(opened, shown, solved.reasons), source_of(shown), len(rows)


async def whole_response(service: Service, page: Page) -> Response:
    """The answer of a page that may be long: the rows of a long one are made by a thread."""
    if len(page.rows) > MANY_ROWS and page.encoded is None:
        encoded = await service.threads.aside(page.opened, encoded_rows, page.opened, page.rows, page.reasons)
        page = page._replace(encoded=encoded)
    return list_response(service, page)


def encoded_rows(opened: OpenRelease, rows: Iterable[Listed], reasons: Mapping[Any, Sequence[Reason]]) -> bytes:
    """Rows of a list with their reasons, as the JSON of an answer."""
    return rows_json(row(opened, entry, reasons.get(entry.item_id, ())) for entry in rows)


def list_response(service: Service, page: Page) -> Response:
    opened = page.opened
    is_personal = page.source == opened.served_model
    stale = service.releases.is_stale(opened)
    if not is_personal:
        service.metrics.fallbacks[page.source] += 1
    return Response(
        rows=[row(opened, entry, page.reasons.get(entry.item_id, ())) for entry in page.rows] if page.encoded is None else (),
        encoded=page.encoded,
        next=Token("r", opened.id, page.seq, page.next).text() if page.next else None,
        extra={
            "user_id": page.asked,
            "is_known": page.user is not None,
            "source": page.source,
            "computed_at": page.computed_at or opened.computed_at,
            "personalized": is_personal,
            "stale": stale,
        },
        tag=service.releases.personal_tag(opened, page.user, page.seq if page.since is None else f"{page.seq}-{page.since}"),
        is_personal=True,
        opened=opened,
    )
