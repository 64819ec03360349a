"""The short path: an ASGI wrapper that answers the product's routes and hands everything else to Datasette."""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from schemas.errors import CineMatchError
from serving import access, pages
from serving.answers import Answer, envelope, error_body, JSON_TYPE, RequestError, shaped
from serving.call import Call
from serving.drain import Drain
from serving.metrics import METHODS
from serving.opened import OpenRelease
from serving.routes import Route, Router
from serving.service import Service

log = logging.getLogger("cinematch.serving")

_VARY = (b"vary", b"accept")

App = Callable[[dict, Callable, Callable], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Application:
    """ASGI application around Datasette's own."""

    def __init__(self, service: Service, inner: App, drain: Drain) -> None:
        self._service = service
        self._drain = drain
        self._inner = inner
        self._router = Router(service.routes)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] != "http":
            await self._inner(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    async def _lifespan(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def started(message: dict) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._service.start()
            elif message["type"] == "lifespan.shutdown.complete":
                await self._service.stop()
            await send(message)

        await self._inner(scope, receive, started)

    async def _http(self, scope: dict, receive: Callable, send: Callable) -> None:
        started = time.perf_counter()
        service, method = self._service, scope["method"]
        request = dict(scope["headers"])
        request_id = service.log.request_id(request.get(b"x-request-id"))
        raw = (scope.get("raw_path") or quote(scope["path"]).encode()).split(b"?", 1)[0]
        opened = service.current.hold()
        try:
            if self._router.owns(raw):
                pattern, status, body, headers = await self._ours(scope, receive, request, raw, opened, started)
                headers.append((b"x-request-id", request_id))
                await respond(send, status, body, headers, is_head=method == "HEAD")
            elif (refused := access.refused(service, request) or _unreadable(method, raw)) is not None:
                pattern = "datasette"
                status, body, headers = await self._refusal(
                    refused, b"text/html" in request.get(b"accept", b""), opened
                )
                await respond(send, status, body, [*headers, (b"x-request-id", request_id)], is_head=method == "HEAD")
            else:
                pattern, status = "datasette", await self._datasettes(scope, receive, send, request_id)
        finally:
            opened.let_go()
        seconds = time.perf_counter() - started
        service.metrics.request(method, pattern, status, seconds)
        service.log.line(request_id, method, pattern, status, seconds)

    async def _ours(
        self, scope: dict, receive: Callable, request: dict, raw: bytes, opened: OpenRelease, started: float
    ) -> tuple[str, int, bytes, Headers]:
        """The route's pattern, and status, body and headers of its answer or refusal."""
        pattern = "none"
        wants_page = b"text/html" in request.get(b"accept", b"") and not raw.endswith(b".json")
        try:
            route, path = self._router.find(scope["method"], raw)
            pattern = route.path
            key = access.admitted(self._service, route, request)
            query = scope["query_string"].decode("latin-1")
            values = route.query(query)
            body = b"" if route.body is None else await access.body_of(self._service, request, receive)
            call = Call(opened, path, values, body, key)
            answer = route.handler(self._service, call)
            if not isinstance(answer, Answer):
                answer = await answer
            if wants_page and route.page is not None and answer.text is None:
                return pattern, *await self._page(route, call, answer, request, started, raw, query)
            return pattern, *self._represent(call, answer, request, started, raw, query)
        except Exception as error:
            return pattern, *await self._refusal(error, wants_page, opened)

    async def _datasettes(self, scope: dict, receive: Callable, send: Callable, request_id: bytes) -> int:
        """Let Datasette answer; returns the status that it gave."""
        status, has_begun = 500, False

        async def noted(message: dict) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", request_id)]}
            await send(message)

        under_way = self._drain.begin()
        try:
            await self._inner(scope, receive, noted)
        except Exception as error:
            if has_begun:
                raise
            status, body, headers = await self._refusal(error, False, self._service.current)
            await respond(send, status, body, headers, is_head=False)
        finally:
            self._drain.end(under_way)
        return status

    def _represent(
        self, call: Call, answer: Answer, request: dict, started: float, raw: bytes, query: str
    ) -> tuple[int, bytes, Headers]:
        """Status, body and headers of an answer; 304 without a body where the client has it already."""
        if answer.text is not None:
            kind = answer.kind.encode()
            return answer.status, answer.text.encode(), [(b"content-type", kind), (b"cache-control", b"no-store")]
        headers, has_it = self._headers(answer, request, "")
        if has_it:
            return 304, b"", headers
        opened, next_url = answer.opened or call.opened, _next_url(raw, query, answer.next)
        shape, took_ms = call.values.get("_shape", "objects"), (time.perf_counter() - started) * 1e3
        if shape == "objects":
            body, kind = envelope(answer, release=opened.id, took_ms=took_ms, next_url=next_url), JSON_TYPE
        else:
            body, kind = shaped(
                answer, shape, has_newlines=call.values["_nl"], release=opened.id, took_ms=took_ms, next_url=next_url
            )
        headers.append((b"content-type", kind))
        return answer.status, body, headers

    async def _page(
        self, route: Route, call: Call, answer: Answer, request: dict, started: float, raw: bytes, query: str
    ) -> tuple[int, bytes, Headers]:
        """The same as a page."""
        headers, has_it = self._headers(answer, request, ".html")
        if has_it:
            return 304, b"", headers
        opened, next_url = answer.opened or call.opened, _next_url(raw, query, answer.next)
        took_ms = (time.perf_counter() - started) * 1e3
        body = await pages.page(self._service, route, call, answer, opened, next_url, took_ms)
        return answer.status, body, [*headers, (b"content-type", b"text/html; charset=utf-8")]

    def _headers(self, answer: Answer, request: dict, kind: str) -> tuple[Headers, bool]:
        """Headers that say for whom and how long an answer is, and whether the client has it already."""
        headers: Headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        headers.append(_VARY)
        if answer.tag is None:
            headers.append((b"cache-control", b"no-store"))
            return headers, False
        tag = f'W/"{answer.tag}{kind}"'.encode()
        headers.append((b"etag", tag))
        headers.append((b"cache-control", b"private, no-cache" if answer.is_personal else self._service.cache_control))
        return headers, _matches(request.get(b"if-none-match"), tag)

    async def _refusal(self, error: Exception, wants_page: bool, opened: OpenRelease) -> tuple[int, bytes, Headers]:
        """The one error body. What nobody foresaw is logged whole and answered without its insides."""
        if isinstance(error, (sqlite3.DatabaseError, zlib.error)):
            log.error("release %s cannot be read: %s", opened.id, error)
            error = RequestError(f"release {opened.id} cannot be read just now; the log says why", 503)
        elif not isinstance(error, CineMatchError):
            log.exception("unexpected error", exc_info=error)
            error = CineMatchError("something failed that should not; the log says what")
        headers: Headers = [(b"cache-control", b"no-store")]
        headers += [(name.encode(), value.encode()) for name, value in getattr(error, "headers", {}).items()]
        if wants_page:
            body = await pages.error_page(self._service, error)
            return error.status, body, [*headers, (b"content-type", b"text/html; charset=utf-8")]
        return error.status, error_body(error), [*headers, (b"content-type", JSON_TYPE)]


def _unreadable(method: str, raw: bytes) -> RequestError | None:
    """What Datasette would fail on: a method that nobody knows, and bytes in a path that are not percent-encoded."""
    if method not in METHODS:
        return RequestError(
            f"{ascii(method)[:40]} is not a method that is known here", 405, {"allow": "GET, HEAD, POST"}
        )
    return None if raw.isascii() else RequestError("the path: expected percent-encoded UTF-8")


def _next_url(raw: bytes, query: str, token: str | None) -> str | None:
    """The same request with the token of the next page; a token needs no escaping."""
    if token is None:
        return None
    path = raw.decode("latin-1")
    kept = (
        "&".join(part for part in query.split("&") if part and not part.startswith("next="))
        if "next=" in query
        else query
    )
    return f"{path}?{kept}&next={token}" if kept else f"{path}?next={token}"


def _matches(given: bytes | None, tag: bytes) -> bool:
    """If-None-Match compares weakly: the strength of either tag does not matter."""
    if given is None:
        return False
    bare = tag.removeprefix(b"W/")
    return given.strip() == b"*" or any(part.strip().removeprefix(b"W/") == bare for part in given.split(b","))


async def respond(send: Callable, status: int, body: bytes, headers: Headers, *, is_head: bool) -> None:
    if status != 304:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
