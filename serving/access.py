"""Who may ask and how much: API keys, private servers, and the size of what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from serving.answers import RequestError
from serving.connections import UNWANTED_BYTES
from serving.service import NO_KEY, Service

if TYPE_CHECKING:
    from serving.routes import Route

BODY_S = 10.0
ROW_BYTES = 256


def admitted(service: Service, route: Route, headers: Mapping[bytes, bytes]) -> str | None:
    """The name of the key of a request that may go on. Raises RequestError: 401, or 403 where no key could help."""
    if route.needs_key:
        if not service.keys:
            raise RequestError(f"writes are {NO_KEY}", 403)
        name = service.keys.name_of(headers)
        if name is None:
            raise _unauthorized("this needs an API key, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`", "Bearer")
        return name
    if service.settings.private and not route.is_open:
        error = refused(service, headers)
        if error is not None:
            raise error
    return None


def refused(service: Service, headers: Mapping[bytes, bytes]) -> RequestError | None:
    """Why a reader may not read: a private server wants a key for everything, Datasette's pages included."""
    if not service.settings.private or service.keys.name_of(headers, is_basic_enough=True) is not None:
        return None
    return _unauthorized(
        "this server is private: send an API key, or give it as the password to a browser", 'Basic realm="CineMatch"'
    )


def _unauthorized(message: str, scheme: str) -> RequestError:
    return RequestError(message, 401, {"www-authenticate": scheme})


async def body_of(service: Service, route: Route, headers: Mapping[bytes, bytes], receive: Callable) -> bytes:
    """The whole body. Raises RequestError: 413 where it is too large, 408 where it does not come."""
    limit = service.settings.body_kib << 10
    if not route.needs_key:  # reading JSON holds up others, so strangers may send what the rows take that they may send
        limit = min(limit, service.settings.batch_n * ROW_BYTES)
    too_large = RequestError(
        f"the body: expected at most {limit >> 10} KiB" if limit >= 1024 else f"the body: expected at most {limit} bytes",
        413,
        {"connection": "close"},
    )
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        if b"expect" not in headers:  # whoever asks first is told at once
            await _read_on(receive)
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError("the body did not come whole", 400)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    parts.clear()
                    await _read_on(receive)
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestError(f"the body did not come within {BODY_S:g} s", 408, {"connection": "close"}) from None


async def _read_on(receive: Callable) -> None:
    """Read what nobody wants, for a while: a connection closed before would take the refusal with it."""
    size = 0
    try:
        async with asyncio.timeout(BODY_S / 2):
            while size < UNWANTED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        pass
