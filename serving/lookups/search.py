"""/search: items by words of their title, the most rated first among equals."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from serving.opened import OpenRelease
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service

_SEARCH = """with found as (select item_id, rank as distance from items_fts where items_fts match ? order by rank limit 1000)
select i.item_id, i.title, i.year, i.genres, i.n_ratings, i.mean_rating
from found f cross join items i on i.item_id = f.item_id order by f.distance, i.n_ratings desc, i.item_id limit ?"""
_NAMES = ("item_id", "title", "year", "genres", "n_ratings", "mean_rating")
_WORD = re.compile(r"\w+")
_STEPS = 20_000  # between two looks at the clock, each of which takes the interpreter from the event loop
WORDS = 8


async def search(service: Service, request: Request) -> Response:
    """Every word must begin a word of the title; case and accents do not matter. The first eight different words count."""
    opened = request.opened
    return Response(
        rows=await titles(service, opened, request.values["q"], request.values["n"]),
        extra={
            "q": request.values["q"],
            "source": "search",
            "computed_at": opened.computed_at,
            "personalized": False,
            "stale": service.releases.is_stale(opened),
        },
        tag=opened.tag,
        opened=opened,
    )


async def titles(service: Service, opened: OpenRelease, q: str, n: int) -> list[dict[str, Any]]:
    """Up to n items whose titles have words that begin with those of q, none of which is hidden."""
    words = list(dict.fromkeys(word.casefold() for word in _WORD.findall(q[:200])))[:WORDS]
    if not words:
        raise RequestError("q: expected at least one word of a title")
    match = " ".join(f'"{word}"*' for word in words)
    rows = await service.threads.search(opened, within, opened, service.settings.query_ms, "q", _SEARCH, [match, n + len(opened.hidden)])
    return [dict(zip(_NAMES, row)) for row in rows if row[0] not in opened.hidden][:n]


def within(opened: OpenRelease, limit_ms: int, parameter: str, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    """Rows of a query that may be slow. Raises RequestError (400) once it takes longer than the limit. From any thread."""
    deadline, connection = time.monotonic() + limit_ms / 1000, opened.reader()
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        raise RequestError(f"{parameter}: the query took longer than {limit_ms} ms; ask for something rarer") from None
    finally:
        connection.set_progress_handler(None, 0)
