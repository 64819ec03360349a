"""Who may ask and how much: API keys and their scopes, users' tokens, private servers, limits, and the size of what is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, UTC
from typing import Any, TYPE_CHECKING

from serving.connections import UNWANTED_BYTES
from serving.guard import NO_KEY
from serving.keys import given
from serving.limits import Headers, network
from serving.response import RequestError
from serving.service import Service
from serving.user_tokens import UserToken
from warehouse.keys import Key, READ

if TYPE_CHECKING:
    from serving.route import Route

BODY_S = 10.0
PAUSE_S = 0.005
ROW_BYTES = 256
NO_SUCH_KEY = "the API key that was sent is none of this warehouse's, or not one for this; `cinematch keys list` names those that there are"


def admitted(
    service: Service, route: Route, path: Mapping[str, str], headers: Mapping[bytes, bytes], client: tuple[str, int] | None
) -> tuple[str | None, Headers]:
    """The name of the key of a request to a route that may go on, and headers that say what else it may ask for. Raises RequestError:
    401, 403 where this key may not or no key could help, 429 where it comes too often."""
    if route.is_open:
        return None, []
    if route.scope is None:
        return None, read(service, headers, client, is_users=route.for_users, user_id=path.get("user_id"))
    if not service.guard.keys:
        raise RequestError(f"writes are {NO_KEY}", 403)
    caller = _caller(service, headers, client, is_basic_enough=False)
    if caller is None:
        if _shows_one(headers):
            raise _unauthorized(NO_SUCH_KEY, "Bearer")
        raise _unauthorized("this needs an API key, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`", "Bearer")
    if isinstance(caller, UserToken):
        raise RequestError(f"a user's token only reads; this needs an API key with the scope {route.scope}", 403)
    _check(service, caller, route.scope)
    return caller.name, []


def read(
    service: Service, headers: Mapping[bytes, bytes], client: tuple[str, int] | None, *, is_users: bool = False, user_id: str | None = None
) -> Headers:
    """Let a reader read, or raise RequestError: a private server wants a key with the scope `read` for everything, Datasette's pages
    included, or a user's token for that user's own. Returns the headers that say what else may be read."""
    is_private = service.guard.is_private
    caller = None
    if is_private or service.guard.key_reads.rate and _shows_one(headers):
        try:
            caller = _caller(service, headers, client, is_basic_enough=True)
        except RequestError:
            if is_private:
                raise  # where everybody reads, a key that is none only counts for nothing
    if is_private:
        if caller is None:
            said = NO_SUCH_KEY if _shows_one(headers) else "send an API key, or give it as the password to a browser"
            raise _unauthorized(f"this server is private: {said}", 'Basic realm="CineMatch"')
        if isinstance(caller, Key):
            _check(service, caller, READ)
        elif not is_users or user_id is not None and user_id != caller.user:
            raise RequestError("a user's token reads what is that user's own, and items; this needs an API key with the scope read", 403)
    now = time.monotonic()
    if isinstance(caller, Key):
        return service.guard.key_reads.take(caller.sha256, now)
    who = network(client[0]) if client and service.guard.address_reads.rate else None
    return [] if who is None else service.guard.address_reads.take(who, now)


def _caller(
    service: Service, headers: Mapping[bytes, bytes], client: tuple[str, int] | None, *, is_basic_enough: bool
) -> Key | UserToken | None:
    """Whose key or token a request shows; None if it shows none, or none of ours. Raises RequestError: 401 for one that counts no
    more, 429 where too many wrong ones came from this address."""
    shown = given(headers, is_basic_enough=is_basic_enough)
    if shown is None:
        return None
    who, clock = network(client[0]) if client else None, time.monotonic()
    caller = service.guard.keys.find(shown) or service.guard.user_tokens.find(shown, service.now())
    digest = caller.sha256 if isinstance(caller, Key) else None
    wait_s = service.guard.wrong_keys.wait_s(who, digest, clock)
    if wait_s:
        raise RequestError("too many wrong keys from this address; wait before the next", 429, {"retry-after": str(wait_s)})
    if caller is None:
        service.guard.wrong_keys.add(who, clock)
        return None
    if isinstance(caller, Key):
        service.guard.wrong_keys.was_right(who, caller.sha256)
        if caller.has_expired(datetime.fromtimestamp(service.now(), UTC)):
            raise _unauthorized(f"this API key expired at {caller.expires_at:%Y-%m-%dT%H:%M:%SZ}; it needs a new one", "Bearer")
    elif caller.problem is not None:
        raise _unauthorized(f"this user's token is not taken: {caller.problem}", 'Bearer error="invalid_token"')
    return caller


def _shows_one(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request shows a key or a token, of whatever worth."""
    return b"authorization" in headers or b"x-api-key" in headers


def _check(service: Service, key: Key, scope: str) -> None:
    """Whether a key may, and note that it was used. Raises RequestError (403)."""
    if scope not in key.scopes:
        raise RequestError(
            f"this needs an API key with the scope {scope}; this one has {', '.join(key.scopes)}. "
            f"`cinematch keys create --scopes {scope} --name NAME` makes one",
            403,
        )
    service.guard.keys.used(key, service.now())


def _unauthorized(message: str, scheme: str) -> RequestError:
    return RequestError(message, 401, {"www-authenticate": scheme})


async def body_of(service: Service, route: Route, headers: Mapping[bytes, bytes], receive: Callable[..., Any]) -> bytes:
    """The whole body. Raises RequestError: 413 where it is too large, 408 where it does not come."""
    limit = service.settings.body_kib << 10
    if route.scope is None:  # reading JSON holds up others, so strangers may send what the rows take that they may send
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


async def _read_on(receive: Callable[..., Any]) -> None:
    """Read what nobody wants, for a while: a connection closed before would take the refusal with it. It is read slowly, so that
    requests of others come between."""
    size = 0
    try:
        async with asyncio.timeout(BODY_S / 2):
            while size < UNWANTED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        pass
