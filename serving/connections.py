"""Connections that take up room and ask nothing: bounded in number, in time and in size, so that whoever asks finds one free.

A connection waits while it has no request that is being answered: silent, with half a head, or with a body that nobody wants. Where
all room is taken the one that waited longest makes room for the next. One that takes nothing of its answer holds a release open, and is
cut after a while.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.response import error_body, JSON_TYPE, RequestError

VERSIONS = ("1.0", "1.1")
WAIT_S, UNREAD_S = 10.0, 30.0
HEAD_BYTES, HEADERS = 32 << 10, 100
UNWANTED_BYTES = 32 << 20
IS_TOO_LARGE = "cinematch.is_too_large"  # in the scope of a request whose head is not to be looked at
_KEPT_DESCRIPTORS, _MOST = 320, 20_000
_SWEEP_S = 1.0


class Connections:
    """All connections of a server. `each` is how many one address may have; 0 is any number."""

    def __init__(self, *, most: int, each: int) -> None:
        self._most, self._each = most, each or most
        self._all: dict[Connection, None] = {}  # in the order in which they came, which tells apart those of one moment
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, new: Connection) -> None:
        """Take a connection in, in the place of another where there is no room, or not at all where every other is being answered."""
        of_address = self._by_address.setdefault(new.address, {})
        for crowd, most in ((of_address, self._each), (self._all, self._most)):
            if len(crowd) >= most:
                waiting = [other for other in crowd if other.waits_since is not None]
                if not waiting:
                    new.transport.abort()
                    break
                min(waiting, key=lambda other: other.waits_since or 0.0).transport.abort()
        self._all[new] = of_address[new] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def remove(self, gone: Connection) -> None:
        self._all.pop(gone, None)
        of_address = self._by_address.get(gone.address)
        if of_address is not None:
            of_address.pop(gone, None)
            if not of_address:
                del self._by_address[gone.address]

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._all):
            if connection.reads_nothing(now):
                connection.transport.abort()
            elif connection.waits_since is not None and now - connection.waits_since > WAIT_S:
                connection.transport.close()
        self._timer = loop.call_later(_SWEEP_S, self._sweep) if self._all else None


class _Together:
    """A connection's transport, for the answer to one GET: its head goes out with the first of its body, as one packet."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
        else:
            self._transport.writelines((self._head, data))
            self.write = self._transport.write  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which knows since when it waits; None while a request is being answered."""

    def __init__(self, *arguments: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._crowd = connections
        self._n_asked = self._n_bytes = 0
        self._may_be_large = False
        self._unread, self._unread_since = 0, 0.0
        self._answered: RequestResponseCycle | None = None
        self.waits_since: float | None = 0.0
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        self.address = self.client[0] if self.client else ""
        self._crowd.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.remove(self)
        if self._answered is not None:
            self._answered.disconnected = True  # uvicorn tells only the last of those that were asked at once
            self._answered.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        if cycle.scope["method"] == "GET":  # of a HEAD nothing follows, and a POST may be told to go on before
            cycle.transport = _Together(cycle.transport)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def reads_nothing(self, now: float) -> bool:
        """Whether there is something to send and nothing of it could be sent for long; to be asked again and again."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread != self._unread:
            self._unread, self._unread_since = unread, now
        return now - self._unread_since > UNREAD_S

    def data_received(self, data: bytes) -> None:
        self._may_be_large = self._n_bytes + len(data) > HEAD_BYTES
        super().data_received(data)
        if self.waits_since is not None and not self.transport.is_closing():
            self._n_bytes += len(data)
            is_head = self.cycle is None or not self.cycle.more_body
            if self._n_bytes > (HEAD_BYTES if is_head else UNWANTED_BYTES):
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every error is answered, in JSON, and close."""
        body = error_body(RequestError(f"{msg.removesuffix('.')}; expected HTTP/1.1, and an address of ASCII (ü is %C3%BC)"))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (JSON_TYPE, len(body)) + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._n_bytes = 0
        if not self._n_asked:
            self.waits_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.parser.get_http_version() not in VERSIONS:
            raise ValueError("another version of HTTP")  # which the parser tells as a request that is not valid
        if self._may_be_large and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self.scope[IS_TOO_LARGE] = True  # type: ignore[literal-required]  # for our application alone
        super().on_headers_complete()
        self._n_asked += 1
        self.waits_since = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn reads on after each answer, so that those who wait would become more and more
        self._n_asked -= 1
        if not self._n_asked:
            self._n_bytes, self.waits_since = 0, self.loop.time()


def most_connections() -> int:
    """Return how many connections the descriptors of this process allow, once it has asked for all that it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _KEPT_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST + _KEPT_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return min(_MOST, max(soft - _KEPT_DESCRIPTORS, soft // 2) if soft != resource.RLIM_INFINITY else _MOST)
