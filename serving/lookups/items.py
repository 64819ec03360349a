"""/items, /popular and /genres: rows about items, read from the release."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from serving.facts import several
from serving.filters import excluded_items, known_genre
from serving.ids import known_item
from serving.neighbours import SOURCES, stored_neighbours
from serving.opened import OpenRelease
from serving.parameters import FILTERS, GENRE, MANY_ROWS
from serving.request import Request, Token
from serving.response import Response
from serving.service import Service

NEIGHBOURS = 12
_FACTS = """select title, year, genres, tags, description, n_ratings, mean_rating, is_in_catalogue, is_blocked, same_item_id, n_lists,
n_first_tens, best_rank from items left join item_lists using (item_id) where items.item_id = ?"""
_RATINGS = "select rating, n_ratings from item_ratings where item_id = ? order by rating"
_POPULAR = """select rank, item_id, score, n_ratings, damped_mean from popular where genre = ? and rank > ? order by rank limit ?"""


def item(service: Service, request: Request) -> Response:
    """An item: what is known of it, how it was rated, in how many lists it is, and its neighbours of both kinds."""
    opened = request.opened
    item_id = known_item(opened, request)
    reader = opened.reader()
    title, year, genres, tags, text, n_ratings, mean, is_in_catalogue, is_blocked, same, n_lists, n_tens, best = reader.execute(
        _FACTS, [item_id]
    ).fetchone()
    neighbours = {source: stored_neighbours(opened, item_id, source, 0, NEIGHBOURS) for source in SOURCES}
    of_both = set.intersection(*({row["item_id"] for row in rows} for rows in neighbours.values()))
    facts = {
        "item_id": item_id,
        "title": title,
        "year": year,
        "genres": several(genres),
        "tags": several(tags),
        "description": text,
        "n_ratings": n_ratings,
        "mean_rating": mean,
        "ratings": [{"rating": rating, "n_ratings": n} for rating, n in reader.execute(_RATINGS, [item_id])],
        "n_lists": n_lists or 0,
        "n_first_tens": n_tens or 0,
        "best_rank": best,
        "is_in_catalogue": bool(is_in_catalogue),
        "is_blocked": bool(is_blocked),
        "same_item_id": same,
    }
    similar = {source: [row | {"is_in_both": row["item_id"] in of_both} for row in rows] for source, rows in neighbours.items()}
    return items_response(service, opened, [facts], source="release", next=None, similar=similar)


def popular(service: Service, request: Request) -> Response | Awaitable[Response]:
    """The most popular items, of all, of one genre, or of those that filters leave; ranked anew if something is hidden."""
    if request.opened.hidden or any(request.values[parameter.name] for parameter in FILTERS if parameter is not GENRE):
        return service.threads.aside(request.opened, _popular_of_some, service, request)
    return (
        _popular(service, request)
        if request.values["n"] <= MANY_ROWS
        else service.threads.aside(request.opened, _popular, service, request)
    )


def genres(service: Service, request: Request) -> Response:
    """The genres of the release, each with the items that have it, in lists or not. An item may have several."""
    opened = request.opened
    rows = [{"genre": genre, "n_items": n} for genre, n in zip(opened.genres, opened.genre_counts)]
    response = items_response(service, opened, rows, source="release", next=None)
    response.key = "genre"
    return response


def _popular_of_some(service: Service, request: Request) -> Response:
    """Rank what filters leave by popularity, as the table `popular` ranks all."""
    token = Token.parse(request.values["next"], "p") if request.values["next"] else None
    opened = service.releases.pinned(request, token) if token else request.opened
    side, after, n = opened.side, token.rank if token else 0, request.values["n"]
    is_left = opened.popularity["n_ratings"] > 0
    is_left[side.blocked] = False
    excluded = excluded_items(opened, request.values)
    if excluded is not None:
        is_left[excluded] = False
    items = side.by_popularity[is_left[side.by_popularity]]
    items = items[side.twins.once(items)]
    shown = items[after : after + n]
    scores, counts, means = (opened.popularity[name][shown].tolist() for name in ("scores", "n_ratings", "damped_means"))
    rows = [
        _popular_row(opened, after + place, opened.item_id(number), score, int(count), None if mean != mean else mean)
        for place, (number, score, count, mean) in enumerate(zip(shown.tolist(), scores, counts, means), 1)
    ]
    token_text = Token("p", opened.id, 0, after + n).text() if len(items) > after + n else None
    source = "popular" if excluded is None else "popular_genre"
    return items_response(service, opened, rows, source=source, next=token_text, genre=request.values["genre"] or "")


def _popular(service: Service, request: Request) -> Response:
    token = Token.parse(request.values["next"], "p") if request.values["next"] else None
    opened = service.releases.pinned(request, token) if token else request.opened
    genre = known_genre(opened, request.values["genre"]) if request.values["genre"] else ""
    n = request.values["n"]
    rows = popular_rows(opened, genre, token.rank if token else 0, n + 1)
    shown = rows[:n]
    token_text = Token("p", opened.id, 0, shown[-1]["rank"]).text() if len(rows) > n else None
    return items_response(service, opened, shown, source="popular_genre" if genre else "popular", next=token_text, genre=genre)


def popular_rows(opened: OpenRelease, genre: str, after: int, n: int) -> list[dict[str, Any]]:
    """Read n rows of a popular list, those of all items where the genre is empty, from the rank after `after`; none is hidden."""
    rows = opened.reader().execute(_POPULAR, [genre, after, n + len(opened.hidden)])
    return [_popular_row(opened, *row) for row in rows if row[1] not in opened.hidden][:n]


def _popular_row(opened: OpenRelease, rank: int, item: Any, score: float, n_ratings: int, mean: float | None) -> dict[str, Any]:
    return {"rank": rank, "item_id": item, "title": opened.title(item), "score": score, "n_ratings": n_ratings, "damped_mean": mean}


def items_response(
    service: Service, opened: OpenRelease, rows: list[dict[str, Any]], *, source: str, next: str | None, **more: Any
) -> Response:
    stale = service.releases.is_stale(opened)
    return Response(
        rows=rows,
        next=next,
        extra={**more, "source": source, "computed_at": opened.computed_at, "personalized": False, "stale": stale},
        tag=f"{opened.tag}{'.s' if stale else ''}",
        opened=opened,
    )
