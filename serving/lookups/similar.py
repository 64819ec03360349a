"""/similar: neighbours of an item, stored as far as they reach, and of several items together, by a comparison with all items."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from schemas.errors import NotFound
from serving.filters import excluded_items, is_filtered
from serving.ids import known_item, listed_items
from serving.lookups.items import items_response
from serving.neighbours import nearest, source_of, SOURCES, stored_neighbours
from serving.opened import OpenRelease
from serving.parameters import MANY_ROWS, MAX_N, MOST_ITEMS
from serving.request import Request, Token
from serving.response import RequestError, Response
from serving.service import Service


def similar(service: Service, request: Request) -> Response | Awaitable[Response]:
    """An item's neighbours, by who liked it or by what it is. A cold item has only the second kind, and then gets it. The nearest are
    stored; where filters or `n` ask for others, or something is hidden, the item is compared with all, and `note` says so if fewer are left than were asked for."""
    opened, after, n = _place(service, request)
    item, wanted = known_item(opened, request), request.values["source"]
    source, beside = wanted or SOURCES[0], {"item_id": item, "title": opened.title(item)}
    most = min(n, MANY_ROWS) + 1
    rows = stored_neighbours(opened, item, source, after, most)
    if not rows and wanted is None:
        source = source_of(opened, [item])
        rows = stored_neighbours(opened, item, source, after, most)
    if len(rows) > n and not is_filtered(request.values) and not opened.hidden:
        return _answer(service, opened, rows, source, after, n, beside)
    return _compared(service, request, opened, [item], source, after, n, beside)


async def similar_to_set(service: Service, request: Request) -> Response:
    """Neighbours of several items together, such as those of a basket or a page: all items, by the sum of their similarities to those of
    `items`, which are left out themselves. An item that is named twice, or under two ids, counts once. By who liked them, unless nobody
    has any of them. Ids that the release does not know, or that are hidden, are in `unusable`; if none is left, that is a 404."""
    opened, after, n = _place(service, request)
    asked = list(dict.fromkeys(listed_items(opened, "items", request.values["items"])))
    if len(asked) > MOST_ITEMS:
        raise RequestError(f"items: {len(asked)} items, expected at most {MOST_ITEMS}")
    items = [item for item in opened.known(asked) if item not in opened.hidden]
    unusable = [item for item in asked if item not in items]
    if not items:
        raise NotFound(f"items: none of {', '.join(map(str, unusable))[:200]} is in release {opened.id}; /search?q= finds items by title")
    beside = {"items": [{"item_id": item, "title": opened.title(item)} for item in items], "unusable": unusable}
    source = request.values["source"] or source_of(opened, items)
    return await _compared(service, request, opened, items, source, after, n, beside)


def _place(service: Service, request: Request) -> tuple[OpenRelease, int, int]:
    """The release of a page, the rank that it begins after, and its rows."""
    token = Token.parse(request.values["next"], "s") if request.values["next"] else None
    opened = service.releases.pinned(request, token) if token else request.opened
    return opened, token.rank if token else 0, request.values["n"]


async def _compared(
    service: Service, request: Request, opened: OpenRelease, items: Sequence[Any], source: str, after: int, n: int, beside: dict[str, Any]
) -> Response:
    wanted, values = min(after + n, MAX_N), request.values
    rows = await service.threads.run_on(opened, _nearest, opened, items, source, min(wanted + 1, MAX_N), values)
    said = {"collaborative": "by who liked it", "content": "by what it is"}[source]
    note = f"there are {len(rows)} neighbours {said}{' that fit' if is_filtered(values) else ''}, fewer than were asked for"
    return _answer(service, opened, rows[after:], source, after, n, beside | {"note": note if len(rows) < wanted else None})


def _nearest(opened: OpenRelease, items: Sequence[Any], source: str, n: int, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first n neighbours; of an item alone, those that are stored stand first, so that no page says otherwise."""
    is_alone = "items" not in values and not is_filtered(values) and not opened.hidden
    first = stored_neighbours(opened, items[0], source, 0, n) if is_alone else []
    return nearest(opened, source, items, n, excluded_items(opened, values), first)


def _answer(
    service: Service, opened: OpenRelease, rows: list[dict[str, Any]], source: str, after: int, n: int, beside: dict[str, Any]
) -> Response:
    shown = [row | {"source": source} for row in rows[:n]]
    following = Token("s", opened.id, 0, after + n).text() if len(rows) > n else None
    return items_response(service, opened, shown, source=source, next=following, **beside)
