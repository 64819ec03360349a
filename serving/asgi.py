"""The ASGI application: it answers the product's routes, and hands everything else to Datasette's process."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from schemas.errors import CineMatchError, NotFound
from serving import access, pages, static_files
from serving.accept import wants_page
from serving.apart import Datasettes
from serving.browsers import as_page, Browsers, Headers, PAGE_HEADERS
from serving.connections import HEAD_BYTES, HEADERS, IS_TOO_LARGE
from serving.forward import Forwarder
from serving.opened import OpenRelease
from serving.parameters import LARGE, MANY_ROWS
from serving.request import matches, Request, tagged
from serving.response import envelope, error_body, JSON_TYPE, RequestError, Response, shaped
from serving.route import Route, Router
from serving.service import Service
from serving.stored import DAMAGED
from serving.swap import Follower

log = logging.getLogger("cinematch.serving")

_VARY = (b"vary", b"accept")

_OF_DATASETTE = re.compile(rb"/-/(static/.+|static-plugins/.+|(metadata|settings)(\.json)?)")
_WHERE = "no such path; /openapi.json says what there is to ask, and under /cinematch are the tables"
_PAGE = ((b"content-type", b"text/html; charset=utf-8"), *PAGE_HEADERS)
_TOO_LARGE = RequestError(f"the head: expected at most {HEADERS} headers and {HEAD_BYTES} bytes", 431, {"connection": "close"})
QUERY_BYTES = 16 << 10
_FOR_EVER = b"max-age=31536000, immutable"


class Application:
    """One server's application, which follows the pointer while it runs."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._router = Router(service.routes)
        self._browsers = Browsers(service.settings)
        self._forwarder = Forwarder()
        self.datasettes = Datasettes(service.settings, service.releases.current, service.users.forgotten)
        self._follower = Follower(service, self.datasettes)
        service.follow = self._follower.follow

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            self._follower.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._follower.stop()
            self.datasettes.close()
            self._service.stop()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close"})

    async def _http(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        started = time.perf_counter()
        service, method = self._service, scope["method"]
        request_headers = dict(scope["headers"])
        request_id = service.log.request_id(request_headers.get(b"x-request-id"))
        raw = (scope.get("raw_path") or quote(scope["path"]).encode()).split(b"?", 1)[0]
        browsers, added, refused, preflight = self._browsers, [(b"x-request-id", request_id)], None, None
        if browsers.has_origins:
            added += browsers.shared(request_headers)
            preflight = browsers.preflight(method, request_headers)
        opened = service.releases.current.hold()
        try:
            if IS_TOO_LARGE in scope or len(scope["headers"]) > HEADERS:
                refused = _TOO_LARGE
            elif request_headers.get(b"host") not in browsers.seen and not raw.startswith(b"/health/"):
                refused = browsers.refused(request_headers.get(b"host"))
            if refused is not None:
                pattern, (status, body, headers) = "none", self._refusal(refused, False, opened)
            elif preflight is not None:
                pattern, status, body, headers = "preflight", 204, b"", preflight
            elif self._router.owns(raw):
                pattern, status, body, headers = await self._ours(scope, receive, request_headers, raw, opened, started, added)
            else:
                pattern = "static" if raw in static_files.FILES else "datasette"
                answer = await self._others(scope, receive, send, request_headers, raw, opened, added)
                if isinstance(answer, int):
                    status, headers = answer, None
                else:
                    status, body, headers = answer
            if headers is not None:
                await respond(send, status, body, headers + added, is_head=method == "HEAD")
        finally:
            opened.let_go()
        seconds = time.perf_counter() - started
        service.metrics.request(method, pattern, status, seconds)
        service.log.line(request_id, method, pattern, status, seconds)

    async def _ours(
        self,
        scope: dict[str, Any],
        receive: Callable[..., Any],
        request_headers: dict[bytes, bytes],
        raw: bytes,
        opened: OpenRelease,
        started: float,
        added: Headers,
    ) -> tuple[str, int, bytes, Headers]:
        """The route's pattern, and status, body and headers of its answer or refusal; `added` gets what every answer has."""
        pattern, asked = "none", None
        is_page = wants_page(request_headers.get(b"accept"), raw)
        try:
            route, path = self._router.find(scope["method"], raw)
            pattern = route.path
            key, limits = access.admitted(self._service, route, path, request_headers, scope.get("client"))
            added += limits
            query = scope["query_string"].decode("latin-1")
            if len(query) > QUERY_BYTES:
                raise RequestError(f"the query string: {len(query)} bytes, expected at most {QUERY_BYTES}", 414)
            values = route.query(query)
            body = b"" if route.body is None else await access.body_of(self._service, route, request_headers, receive)
            named = values.get("release")
            if named is not None:
                opened = asked = await self._service.releases.asked(named)
            known = None if is_page else request_headers.get(b"if-none-match")  # a page has tags of its own
            request = Request(opened, path, values, body, key, known, asked is not None)
            response = route.handler(self._service, request)
            if not isinstance(response, Response):
                response = await response
            if asked is not None:
                response.extra["as_sealed"] = True
            if is_page and route.page is not None and response.text is None:
                return pattern, *await self._page(route, request, response, request_headers, started, raw, query)
            represent = (request, response, request_headers, started, raw, query)
            if len(response.rows) > MANY_ROWS or len(response.encoded or b"") > LARGE:
                return pattern, *await self._service.threads.aside(opened, self._represent, *represent)
            return pattern, *self._represent(*represent)
        except Exception as error:
            gone = None if asked is None else self._service.releases.past.gone(asked)
            return pattern, *self._refusal(gone or error, is_page, opened)
        finally:
            if asked is not None:
                asked.let_go()

    async def _others(
        self,
        scope: dict[str, Any],
        receive: Callable[..., Any],
        send: Callable[..., Any],
        request_headers: dict[bytes, bytes],
        raw: bytes,
        opened: OpenRelease,
        added: Headers,
    ) -> int | tuple[int, bytes, Headers]:
        """Answer what no route of ours has: our static files here, all else by Datasette's process. Returns the status where the
        answer was sent, or status, body and headers of one that is still to be sent."""
        service, method = self._service, scope["method"]
        shown = self.datasettes.shown.hold()
        try:
            added += access.read(service, request_headers, scope.get("client"))
            refused = _not_datasettes(method, raw, request_headers)
            if refused is not None:
                raise refused
            if raw in static_files.FILES:
                body, kind = static_files.FILES[raw]
                return 200, body, [(b"content-type", kind), (b"cache-control", _FOR_EVER)]

            async def noted(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    if message["status"] == 404 and not _is_json(message["headers"]):
                        raise NotFound(f"{ascii(raw.decode('latin-1'))[:200]}: {_WHERE}")
                    message = {**message, "headers": as_page(self._as_private(message["headers"])) + added}
                await send(message)

            apart = self.datasettes.of(shown)
            return await self._forwarder.answer(apart, scope, receive, noted, raw, service.settings.query_ms)
        except CineMatchError as error:
            return self._refusal(error, wants_page(request_headers.get(b"accept"), raw), opened)
        finally:
            shown.let_go()

    def _as_private(self, headers: Headers) -> Headers:
        """Tell caches that what a private server gives stays with who asked."""
        if not self._service.guard.is_private:
            return headers
        return [*(pair for pair in headers if pair[0] != b"cache-control"), (b"cache-control", b"private, no-store")]

    def _represent(
        self, request: Request, response: Response, request_headers: dict[bytes, bytes], started: float, raw: bytes, query: str
    ) -> tuple[int, bytes, Headers]:
        """Status, body and headers of an answer; 304 without a body where the client has it already."""
        if response.text is not None:
            kind = response.kind.encode()
            return response.status, response.text.encode(), [(b"content-type", kind), (b"cache-control", b"no-store")]
        headers, has_it = self._headers(response, request_headers, "")
        if has_it:
            return 304, b"", headers
        opened, next_url = response.opened or request.opened, _next_url(raw, query, request, response.next)
        shape, took_ms = request.values.get("_shape", "objects"), (time.perf_counter() - started) * 1e3
        if shape == "objects":
            body, kind = envelope(response, release=opened.id, took_ms=took_ms, next_url=next_url), JSON_TYPE
        else:
            body, kind = shaped(response, shape, has_newlines=request.values["_nl"], release=opened.id, took_ms=took_ms, next_url=next_url)
        headers.append((b"content-type", kind))
        return response.status, body, headers

    async def _page(
        self,
        route: Route,
        request: Request,
        response: Response,
        request_headers: dict[bytes, bytes],
        started: float,
        raw: bytes,
        query: str,
    ) -> tuple[int, bytes, Headers]:
        """Make the page of an answer."""
        headers, has_it = self._headers(response, request_headers, ".html")
        if has_it:
            return 304, b"", headers
        opened, next_url = response.opened or request.opened, _next_url(raw, query, request, response.next)
        now_url = _address(raw, _without(query, "next", "release")) if request.is_sealed else None
        took_ms = (time.perf_counter() - started) * 1e3
        body = await pages.page(self._service, route, request, response, opened, next_url, now_url, took_ms)
        return response.status, body, [*headers, *_PAGE]

    def _headers(self, response: Response, request_headers: dict[bytes, bytes], kind: str) -> tuple[Headers, bool]:
        """Headers that say for whom and how long an answer is, and whether the client has it already."""
        headers: Headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        headers.append(_VARY)
        if response.tag is None:
            headers.append((b"cache-control", b"no-store"))
            return headers, False
        tag, given = tagged(f"{response.tag}{kind}"), request_headers.get(b"if-none-match")
        headers.append((b"etag", tag))
        headers.append((b"cache-control", b"private, no-cache" if response.is_personal else self._service.guard.cache_control))
        return headers, given is not None and matches(given, tag)

    def _refusal(self, error: Exception, is_page: bool, opened: OpenRelease) -> tuple[int, bytes, Headers]:
        """The one error body. What nobody foresaw is logged whole and answered without its insides."""
        if isinstance(error, (sqlite3.DatabaseError, DAMAGED)):
            log.error("release %s cannot be read: %s", opened.id, error)
            error = RequestError(f"release {opened.id} cannot be read just now; the log says why", 503)
        elif not isinstance(error, CineMatchError):
            log.exception("unexpected error", exc_info=error)
            error = CineMatchError("something failed that should not; the log says what")
        headers: Headers = [(b"cache-control", b"no-store")]
        headers += [(name.encode(), value.encode()) for name, value in getattr(error, "headers", {}).items()]
        if is_page:
            body = pages.error_page(self._service, error)
            return error.status, body, [*headers, *_PAGE]
        return error.status, error_body(error), [*headers, (b"content-type", JSON_TYPE)]


def _is_json(headers: Headers) -> bool:
    return any(name == b"content-type" and value.startswith(b"application/json") for name, value in headers)


def _not_datasettes(method: str, raw: bytes, request_headers: dict[bytes, bytes]) -> RequestError | NotFound | None:
    """Why a request is not handed on: Datasette only reads here, and of its own pages those that say nothing of this machine."""
    if method not in ("GET", "HEAD"):
        return RequestError(f"{ascii(method)[:40]} is not a method of this path; it has GET, HEAD", 405, {"allow": "GET, HEAD"})
    if not raw.isascii():
        return RequestError("the path: expected percent-encoded UTF-8")
    if request_headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in request_headers:
        return RequestError("the body: expected none", 413, {"connection": "close"})
    if raw.startswith(b"/-/") and raw not in static_files.FILES and not _OF_DATASETTE.fullmatch(raw):
        return NotFound("no such path; under /-/ there are /-/metadata, /-/settings and static files")
    return None


def _next_url(raw: bytes, query: str, request: Request, token: str | None) -> str | None:
    """Return the request with the token of the next page, and with the id of a release that was named: a token and an id need no
    escaping."""
    if token is None:
        return None
    if request.is_sealed:
        return _address(raw, [*_without(query, "next", "release"), f"release={request.opened.id}", f"next={token}"])
    return _address(raw, [*(_without(query, "next") if "next=" in query else [query] if query else []), f"next={token}"])


def _without(query: str, *names: str) -> list[str]:
    """The parts of a query string but those of some names."""
    return [part for part in query.split("&") if part and part.partition("=")[0] not in names]


def _address(raw: bytes, parts: list[str]) -> str:
    path = raw.decode("latin-1")
    return f"{path}?{'&'.join(parts)}" if parts else path


async def respond(send: Callable[..., Any], status: int, body: bytes, headers: Headers, *, is_head: bool) -> None:
    if status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
