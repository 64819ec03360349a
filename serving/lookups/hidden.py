"""Items that no list, page or search may show: hidden and shown again while the server runs, and what is hidden now."""

from __future__ import annotations

import asyncio
from typing import Any

from schemas.errors import NotFound
from serving.ids import path_id
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service
from warehouse import hidden


async def hide(service: Service, request: Request) -> Response:
    """Take an item out of every list, neighbourhood, search and page, under all of its ids, until it is shown again. Lists are filled from
    below; releases to come do not list it either. Noted with the time, the key and the reason."""
    item = path_id(request.opened, request, "item_id")
    if request.opened.title(item) is None:
        raise NotFound(f"item {request.path['item_id'][:200]!r}: not in release {request.opened.id}; nothing is hidden")
    return await _noted(service, request, item, is_hidden=True)


async def show(service: Service, request: Request) -> Response:
    """Let an item be shown again. Raises NotFound if it is not hidden."""
    return await _noted(service, request, path_id(request.opened, request, "item_id"), is_hidden=False)


async def listing(service: Service, request: Request) -> Response:
    """List the hidden items, the one that was hidden last first."""
    known = await asyncio.to_thread(hidden.read, service.warehouse)
    rows = [_row(request.opened, item_id, note, "hidden") for item_id, note in reversed(list(known.items()))]
    return Response(rows=rows, key="item_id", opened=request.opened)


async def _noted(service: Service, request: Request, item: Any, *, is_hidden: bool) -> Response:
    by, reason = f"key {request.key}", request.values["reason"] or ""
    noted = await asyncio.to_thread(hidden.note, service.warehouse, item, is_hidden=is_hidden, by=by, reason=reason)
    if noted is None:
        raise NotFound(f"item {request.path['item_id'][:200]!r}: is not hidden; nothing was changed")
    await service.follow()
    opened = service.releases.current
    is_so = (str(item) in service.releases.hidden) == is_hidden  # or somebody has changed it since
    if is_so and (str(item) in opened.without) != is_hidden:
        raise RequestError(f"it is noted, but this server could not open release {opened.id} again", 503)
    return Response(rows=[_row(opened, str(item), noted, "hidden" if is_hidden else "shown")], key="item_id", opened=opened)


def _row(opened: OpenRelease, item_id: str, note: dict[str, Any], status: str) -> dict[str, Any]:
    """Return an item with what was noted when it was hidden; the title and the other ids are null and none where the release does not know the item."""
    item = opened.ids.parse("item_id", item_id)
    is_known = item is not None and opened.title(item) is not None
    return {
        "item_id": item if is_known else item_id,
        "title": opened.title(item) if is_known else None,
        "status": status,
        "same_items": sorted(opened.same([item]) - {item}) if is_known else [],
        "at": note["at"],
        "by": note["by"],
        "reason": note["reason"],
    }
