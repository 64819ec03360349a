"""Every route of the product, declared once: dispatch, parameters, pages and the OpenAPI description come from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

from serving import health, items, lookup, openapi, promote, ratings, releases, runs, search, session, why
from serving.answers import Answer, RequestError
from serving.call import Call
from serving.home import home
from serving.parameters import EVERYWHERE, EXCLUDE, GENRE, N, NEXT, Parameter, Query, STRICT
from serving.service import Service

Handler = Callable[[Service, Call], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One method of one path, such as /why/{user_id}/{item_id}. `page` is the template of its HTML, `is_open` answers without
    a key even on a private server, `body` is the schema of what is sent."""

    method: str
    path: str
    handler: Handler
    summary: str
    parameters: tuple[Parameter, ...] = ()
    page: str | None = None
    is_open: bool = False
    needs_key: bool = False
    body: str | None = None

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))

    @cached_property
    def fixed(self) -> tuple[bytes | None, ...]:
        """The segments that stand as they are; None where a value stands."""
        return tuple(None if segment[:1] == "{" else segment.encode() for segment in self.segments)

    @cached_property
    def declared(self) -> tuple[Parameter, ...]:
        return self.parameters + EVERYWHERE

    @cached_property
    def query(self) -> Query:
        return Query(self.declared)


REASONS_N = Parameter(
    "n", "integer", "history reasons to show one by one; the rest is summed in the residual", None, 0, 1000
)
SOURCE = Parameter(
    "source",
    "text",
    "which neighbours; by default collaborative, and content where an item has none",
    choices=("collaborative", "content"),
)
ROWS_N = Parameter("n", "integer", "rows to give", 100, 1, 1000)
Q = Parameter("q", "text", "words of a title, each may be cut short", is_required=True)
A = Parameter("a", "text", "id of a release, current or latest", is_required=True)
REASON = Parameter("reason", "text", "why; kept with the promotion, and needed for a release that was held back")
B = Parameter("b", "text", "id of another, current or latest", is_required=True)

READS = (
    Route("GET", "/", home, "What there is", page="home"),
    Route(
        "GET",
        "/recommend/{user_id}",
        lookup.recommend,
        "A user's list with its reasons",
        (N, GENRE, EXCLUDE, NEXT, STRICT),
        page="recommend",
    ),
    Route(
        "GET",
        "/why/{user_id}/{item_id}",
        why.why,
        "The reasons of one score; they sum to it",
        (REASONS_N, STRICT),
        page="why",
    ),
    Route(
        "GET", "/predict/{user_id}/{item_id}", why.predict, "The rating that a user would give", (STRICT,), page="rows"
    ),
    Route("GET", "/similar/{item_id}", items.similar, "An item's neighbours", (N, SOURCE, NEXT), page="similar"),
    Route(
        "GET",
        "/popular",
        items.popular,
        "The most popular items, of all or of a genre",
        (N, GENRE, NEXT),
        page="popular",
    ),
    Route("GET", "/ratings/{user_id}", ratings.of_user, "What a user has now", (ROWS_N, NEXT), page="history"),
    Route("GET", "/search", search.search, "Items by words of their title", (Q, N), page="search"),
    Route("GET", "/releases", releases.listing, "The releases of the warehouse", page="releases"),
    Route("GET", "/releases/compare", releases.compare, "Two releases side by side", (A, B), page="compare"),
    Route("GET", "/releases/{release}", releases.show, "A release's manifest", page="release"),
    Route("GET", "/health/live", health.live, "Whether the process lives", is_open=True),
    Route("GET", "/health/ready", health.ready, "Whether it answers from the promoted release", is_open=True),
    Route("GET", "/openapi", openapi.describe, "This description, for programs"),
    Route("GET", "/metrics", health.metrics, "Counters, as Prometheus reads them"),
)

SESSION = Route(
    "POST",
    "/recommend/session",
    session.recommend,
    "A list for a visitor who is stored nowhere",
    (N, GENRE, EXCLUDE),
    body="Session",
)
WRITES = (
    Route("POST", "/ratings", ratings.post, "Add ratings, one or a list", body="Ratings", needs_key=True),
    Route(
        "PUT", "/ratings", ratings.put, "Add ratings in place of whatever the user had", body="Ratings", needs_key=True
    ),
    Route("DELETE", "/ratings", ratings.delete, "Remove ratings, one or a list", body="Pairs", needs_key=True),
    Route("DELETE", "/ratings/{user_id}/{item_id}", ratings.delete_one, "Remove one rating", needs_key=True),
    Route("POST", "/releases", runs.start, "Start a weekly release in Airflow", body="Run", needs_key=True),
    Route("GET", "/runs/{run}", runs.show, "How far a run in Airflow is", needs_key=True),
    Route(
        "POST",
        "/releases/{release}/promote",
        promote.promote,
        "Make a release the one that answers",
        (REASON,),
        needs_key=True,
    ),
)


def table(*, is_read_only: bool) -> tuple[Route, ...]:
    """The routes of a server; a read-only one has none that writes."""
    return (*READS, SESSION, *(() if is_read_only else WRITES))


class Router:
    """From a raw path to a route. Ids are whole path segments, percent-decoded one by one, so a text id may hold anything."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._by_head: dict[tuple[bytes, int], list[Route]] = {}
        for route in routes:
            self._by_head.setdefault((route.segments[0].encode(), len(route.segments)), []).append(route)
        self.heads = {route.segments[0] for route in routes}
        self._owned = {head.encode() for head in self.heads} | {f"{head}.json".encode() for head in self.heads - {""}}

    def owns(self, raw: bytes) -> bool:
        """Whether a path is ours to answer, be it with a 404; all others are Datasette's."""
        return raw[1:].split(b"/", 1)[0] in self._owned

    def find(self, method: str, raw: bytes) -> tuple[Route, dict[str, str]]:
        """The route and the path's values; a slash at the end changes nothing. Raises RequestError: 404, or 405 for another
        method."""
        segments = raw.removesuffix(b".json").removesuffix(b"/")[1:].split(b"/")
        allowed, wanted = [], "GET" if method == "HEAD" else method
        for route in self._by_head.get((segments[0], len(segments)), ()):
            path = _matched(route, segments)
            if path is not None:
                if route.method == wanted:
                    return route, path
                allowed.append(route.method)
        if allowed:
            methods = ", ".join(sorted({*allowed, *(["HEAD"] if "GET" in allowed else [])}))
            raise RequestError(f"{method} is not a method of this path; it has {methods}", 405, {"allow": methods})
        head = segments[0].decode("latin-1")
        known = ", ".join(sorted({route.path for route in self.routes if route.segments[0] == head}))
        raise RequestError(f"no such path; under /{head} there is {known}", 404)


def _matched(route: Route, segments: list[bytes]) -> dict[str, str] | None:
    path = {}
    for declared, fixed, segment in zip(route.segments, route.fixed, segments):
        if fixed is None:
            try:
                text = (unquote_to_bytes(segment) if b"%" in segment else segment).decode("utf-8")
            except UnicodeDecodeError:
                raise RequestError(f"{declared[1:-1]}: the path is not percent-encoded UTF-8", 400) from None
            if not text or len(text) > 1000:
                raise RequestError(
                    f"{declared[1:-1]}: expected an id of 1 to 1000 characters", 404 if not text else 400
                )
            path[declared[1:-1]] = text
        elif fixed != segment:
            return None
    return path
