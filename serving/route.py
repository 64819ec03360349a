"""A route as it is declared, and how a raw path finds one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

from serving.parameters import EVERYWHERE, Parameter, Query
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service

Handler = Callable[[Service, Request], Response | Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One method of one path, such as /why/{user_id}/{item_id}. `name` is unique, `rows` the kind of its rows (`row_schemas`;
    none where it answers in a form of its own), `page` the template of its HTML, `is_open` answers without a key even on a
    private server, `scope` is what a key must have to write (reads need `read`, and that on a private server only), `for_users` answers
    a user's token too, for that user alone, `body` is the schema of what is sent, `status` that of success."""

    name: str
    method: str
    path: str
    handler: Handler
    summary: str
    rows: str | None
    parameters: tuple[Parameter, ...] = ()
    page: str | None = None
    is_open: bool = False
    scope: str | None = None
    for_users: bool = False
    body: str | None = None
    status: int = 200

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))

    @cached_property
    def fixed(self) -> tuple[bytes | None, ...]:
        """The segments that stand as they are; None if a value stands."""
        return tuple(None if segment[:1] == "{" else segment.encode() for segment in self.segments)

    @cached_property
    def declared(self) -> tuple[Parameter, ...]:
        return self.parameters + EVERYWHERE

    @cached_property
    def query(self) -> Query:
        return Query(self.declared)


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
                raise RequestError(f"{declared[1:-1]}: expected an id of 1 to 1000 characters", 404 if not text else 400)
            path[declared[1:-1]] = text
        elif fixed != segment:
            return None
    return path
