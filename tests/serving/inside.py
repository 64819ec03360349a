"""The application without a process around it, for the thousands of requests that a property takes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.settings import resolve
from serving.server import application
from serving.service import Service
from warehouse.layout import Warehouse


class Reply(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Inside:
    """Asks the ASGI application directly; every path and byte arrives as it is given."""

    def __init__(self, folder: Path, key: str, **changed: object) -> None:
        self._loop = asyncio.new_event_loop()
        settings = resolve({"warehouse": str(folder), "write_rate": 10**9} | changed, {}, folder=folder)
        self.service = self._loop.run_until_complete(self._made(Warehouse(folder), settings))
        self._app = application(self.service)
        self._key = key.encode()

    @staticmethod
    async def _made(warehouse: Warehouse, settings) -> Service:
        return Service(warehouse, settings)

    def ask(
        self, method: str, target: bytes, body: bytes = b"", headers: dict[bytes, bytes | None] | None = None, *, client: str = "127.0.0.1"
    ) -> Reply:
        """One request; a header that is None is not sent, such as that of the key."""
        raw, _, query = target.partition(b"?")
        given = {b"host": b"localhost", b"authorization": b"Bearer " + self._key} | (headers or {})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": raw.decode("latin-1"),
            "raw_path": raw,
            "query_string": query,
            "headers": [pair for pair in given.items() if pair[1] is not None],
            "client": (client, 1),
            "server": ("127.0.0.1", 2),
        }
        return self._loop.run_until_complete(asyncio.wait_for(self._asked(scope, body), 20))

    async def _asked(self, scope: dict, body: bytes) -> Reply:
        sent: list[dict] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict:
            """The body, once; then nothing more, as of a client that waits for its answer."""
            return given.pop() if given else await asyncio.Future()

        async def send(message: dict) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return Reply(sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]))

    def look(self) -> None:
        """See what changed in the warehouse, as a server does a few times a second."""
        self._loop.run_until_complete(self.service.look())

    def follow(self) -> None:
        """Serve what the pointer names, or say why not."""
        self._loop.run_until_complete(self.service.follow())

    def retry(self) -> None:
        """See what changed in the warehouse, as a server does once the time has come to try again what was refused."""
        self.service.users.online._retry_at = 0.0
        self.look()

    def send(self, method: str, target: bytes, body: object = None) -> Reply:
        return self.ask(method, target, b"" if body is None else json.dumps(body).encode())

    def rows(self, target: bytes) -> list[dict]:
        reply = self.ask("GET", target)
        assert reply.status == 200, reply.body
        return reply.json()["rows"]

    def close(self) -> None:
        """Stop as a server does, and wait for what it started."""
        self._app.datasettes.close()
        self.service.close()
        for thread in threading.enumerate():
            if thread.name == "end":
                thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@contextmanager
def inside(folder: Path, key: str, **changed: object) -> Iterator[Inside]:
    asked = Inside(folder, key, **changed)
    try:
        yield asked
    finally:
        asked.close()
