"""A request handed on to Datasette's process and its answer handed back, piece by piece, no faster than the client takes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httptools

from serving.apart import Apart, BUFFER
from serving.response import RequestError

log = logging.getLogger("cinematch.serving")

AT_ONCE, WAITING = 16, 64
HEAD_S = 60.0  # the first page after a start waits for it
PIECE_S = 30.0
PASSED_ON = (b"host", b"accept", b"if-none-match", b"if-modified-since")
NOT_PASSED_BACK = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"date", b"server"})


class Broken(Exception):
    """An answer ended in its middle; the connection is to be cut, so that nobody takes it for whole."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Ended(Exception):
    """The process ended, or hung up, before its answer was whole."""


class Forwarder:
    """Hands requests on, a few at a time; those beyond wait, and too many are refused."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)
        self._n = 0

    async def answer(
        self, apart: Apart, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any], raw: bytes, query_ms: int
    ) -> int:
        """Let the process answer; returns the status. Raises RequestError if it cannot and nothing was sent yet."""
        if self._n >= AT_ONCE + WAITING:
            raise RequestError(f"{self._n} requests wait for Datasette already; ask again in a second", 429, {"retry-after": "1"})
        self._n += 1
        gone = asyncio.ensure_future(_left(receive))
        work = asyncio.ensure_future(self._answer(apart, _head(scope, raw), scope["method"] == "HEAD", send, query_ms))
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():  # the client left, so nobody wants the rest
                work.cancel()
                return 499
            return work.result()
        except Broken as error:
            log.error("an answer of Datasette is cut short: %s", error)
            return error.status
        finally:
            self._n -= 1
            gone.cancel()
            work.cancel()

    async def _answer(self, apart: Apart, head: bytes, is_head: bool, send: Callable[..., Any], query_ms: int) -> int:
        async with self._free:
            started, is_again = time.monotonic(), False
            while True:
                try:
                    return await _asked(apart, head, is_head, send)
                except (Ended, OSError) as error:
                    if time.monotonic() - started > query_ms / 1000:  # it may be this very request that ended it
                        raise RequestError(f"this took too long, far beyond the {query_ms} ms of a query, and was ended") from None
                    if is_again:
                        log.error("Datasette did not answer: %s", error or type(error).__name__)
                        raise RequestError("Datasette ended while it answered; ask again", 503, {"retry-after": "1"}) from None
                    is_again = True


async def _left(receive: Callable[..., Any]) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(scope: dict[str, Any], raw: bytes) -> bytes:
    """The request as it is sent on: no body, no cookie, no key."""
    given: Mapping[bytes, bytes] = dict(scope["headers"])
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    lines = [b"%b %b%b HTTP/1.1" % (scope["method"].encode(), raw, query), b"connection: close"]
    lines += [b"%b: %b" % (name, given[name]) for name in PASSED_ON if name in given]
    lines.append(b"x-forwarded-proto: " + scope.get("scheme", "http").encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


class _Response:
    """An answer as httptools parses it."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.has_head = self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_whole = True


async def _asked(apart: Apart, head: bytes, is_head: bool, send: Callable[..., Any]) -> int:
    reader, writer = await apart.connect()
    has_begun, status = False, 0
    try:
        writer.write(head)
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_whole:
            async with asyncio.timeout(PIECE_S if has_begun else HEAD_S):
                data = await reader.read(BUFFER)
            if not data:
                raise Ended("it hung up")
            try:
                parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise Ended(f"its answer is not HTTP ({error})") from None
            if response.has_head and not has_begun:
                has_begun, status = True, parser.get_status_code()
                headers = [pair for pair in response.headers if pair[0] not in NOT_PASSED_BACK]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                if is_head:
                    break
            if response.pieces:
                body, response.pieces = b"".join(response.pieces), []
                async with asyncio.timeout(PIECE_S):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return status
    except TimeoutError:
        if has_begun:
            raise Broken(status, "an answer of Datasette stood still") from None
        raise RequestError("Datasette has too much to do to answer this; ask again later", 503, {"retry-after": "5"}) from None
    except Ended as error:
        if has_begun:
            raise Broken(status, str(error)) from None
        raise
    finally:
        writer.close()
