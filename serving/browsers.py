"""Rules for browsers: the names of this server, other sites' scripts, and headers of safety."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from schemas.errors import SettingError
from schemas.settings import Settings
from serving.content_policy import policy
from serving.response import RequestError

Headers = list[tuple[bytes, bytes]]

PAGE_HEADERS: Headers = [
    (b"content-security-policy", policy()),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_HOST = re.compile(rb"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_KEPT = 256
_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
_SENT = b"authorization, content-type, if-none-match, x-api-key, x-request-id"
_SHOWN = b"etag, location, ratelimit, ratelimit-policy, retry-after, x-request-id"


def as_page(headers: Headers) -> Headers:
    """The headers with those of a page, where it is one; what is there already stays."""
    if not any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        return headers
    there = {name for name, _ in headers}
    return [*headers, *(pair for pair in PAGE_HEADERS if pair[0] not in there)]


class Browsers:
    """The settings `allowed_hosts` and `cors_origins`, as they are asked."""

    def __init__(self, settings: Settings) -> None:
        self._names = {"localhost", settings.host.lower(), *_listed(settings.allowed_hosts)}
        self.seen: set[bytes | None] = {None}  # whoever names no host is no browser
        self._origins = {origin.encode() for origin in _listed(settings.cors_origins)}
        self.has_origins = bool(self._origins)
        for origin in self._origins - {b"*"}:
            parts = urlsplit(origin.decode())
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
                raise SettingError(f"cors_origins: {origin.decode()!r}: expected origins such as https://shop.example, or *")

    def refused(self, host: bytes | None) -> RequestError | None:
        """Why a request to this name is none of ours. An address cannot be pointed elsewhere, so that every address is."""
        host = host or b""
        if self._is_ours(host):
            if len(self.seen) < _KEPT:
                self.seen.add(host)
            return None
        return RequestError(
            f"this server does not go by the name {ascii(host.decode('latin-1'))[:100]}; its names are in the setting allowed_hosts"
        )

    def _is_ours(self, host: bytes) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return not host and "*" in self._names
        name = (match[1] or match[2]).decode().lower().rstrip(".")
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return match[1] is None and ("*" in self._names or name in self._names or name.endswith(".localhost"))

    def shared(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers that let the page of an allowed origin read the answer."""
        allowed = self._allowed(headers)
        vary = [(b"vary", b"origin")] if b"*" not in self._origins else []
        if allowed is None:
            return vary
        return [*vary, (b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _SHOWN)]

    def preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Headers | None:
        """The answer to a browser that asks before it sends; None if this is no such question, or not of an allowed origin."""
        if method != "OPTIONS" or b"access-control-request-method" not in headers or self._allowed(headers) is None:
            return None
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _SENT),
            (b"access-control-max-age", b"600"),
        ]

    def _allowed(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        origin = headers.get(b"origin")
        if origin is None:
            return None
        return b"*" if b"*" in self._origins else origin if origin.lower() in self._origins else None


def _listed(text: str) -> list[str]:
    return [part.strip().lower().rstrip("/") for part in text.split(",") if part.strip()]
