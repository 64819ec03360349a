"""/similar and /popular: rows about items, read from the release; and the items and genres that a request names."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from serving.ids import known_item
from serving.opened import OpenRelease
from serving.parameters import MANY_ROWS
from serving.request import Request, Token
from serving.response import RequestError, Response
from serving.service import Service

_SIMILAR = """select rank, similar_item_id, similarity, source from similar_items
where item_id = ? and source = ? and rank > ? order by rank limit ?"""
_POPULAR = """select rank, item_id, score, n_ratings, damped_mean from popular where genre = ? and rank > ? order by rank limit ?"""


def known_genre(opened: OpenRelease, genre: str) -> str:
    if genre not in opened.genres:
        shown = ", ".join(opened.genres[:30]) or "none"
        raise RequestError(f"genre: release {opened.id} has no genre {genre[:100]!r}; it has {shown}")
    return genre


def similar(service: Service, request: Request) -> Response | Awaitable[Response]:
    """An item's neighbours, by who liked it or by what it is. A cold item has only the second kind, and then gets it."""
    return _similar(service, request) if request.values["n"] <= MANY_ROWS else service.aside(request.opened, _similar, service, request)


def _similar(service: Service, request: Request) -> Response:
    token = Token.parse(request.values["next"], "s") if request.values["next"] else None
    opened = service.pinned(token.release) if token else request.opened
    item = known_item(opened, request)
    after, n = token.rank if token else 0, request.values["n"]
    rows, wanted = [], request.values["source"]
    for source in [wanted] if wanted else ["collaborative", "content"]:
        rows = opened.reader().execute(_SIMILAR, [item, source, after, n + 1]).fetchall()
        if rows or after:
            break
    shown = [
        {"rank": rank, "item_id": other, "title": opened.title(other), "similarity": similarity, "source": found}
        for rank, other, similarity, found in rows[:n]
    ]
    return _items(
        service,
        opened,
        shown,
        source=source,
        next=Token("s", opened.id, 0, shown[-1]["rank"]).text() if len(rows) > n else None,
        item_id=item,
        title=opened.title(item),
    )


def popular(service: Service, request: Request) -> Response | Awaitable[Response]:
    """The most popular items, of all or of one genre."""
    return _popular(service, request) if request.values["n"] <= MANY_ROWS else service.aside(request.opened, _popular, service, request)


def _popular(service: Service, request: Request) -> Response:
    token = Token.parse(request.values["next"], "p") if request.values["next"] else None
    opened = service.pinned(token.release) if token else request.opened
    genre = known_genre(opened, request.values["genre"]) if request.values["genre"] else ""
    n = request.values["n"]
    rows = opened.reader().execute(_POPULAR, [genre, token.rank if token else 0, n + 1]).fetchall()
    shown = [
        {
            "rank": rank,
            "item_id": item,
            "title": opened.title(item),
            "score": score,
            "n_ratings": n_ratings,
            "damped_mean": mean,
        }
        for rank, item, score, n_ratings, mean in rows[:n]
    ]
    token_text = Token("p", opened.id, 0, shown[-1]["rank"]).text() if len(rows) > n else None
    return _items(service, opened, shown, source="popular_genre" if genre else "popular", next=token_text, genre=genre)


def _items(service: Service, opened: OpenRelease, rows: list[dict[str, Any]], *, source: str, next: str | None, **more: Any) -> Response:
    stale = service.is_stale(opened)
    return Response(
        rows=rows,
        next=next,
        extra={**more, "source": source, "computed_at": opened.computed_at, "personalized": False, "stale": stale},
        tag=f"{opened.id}{'.s' if stale else ''}",
        opened=opened,
    )
