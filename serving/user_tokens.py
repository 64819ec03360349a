"""Tokens that an application makes for its users: short-lived, signed with a secret that it shares with the server, to read one user's own.

A token is a JSON Web Token (RFC 7519) with `sub`, the user's id, and `exp`, signed with HS256 and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from schemas.errors import SettingError

SECRET_BYTES = 32  # as RFC 7518 asks for HS256
LONGEST_S = 86_400
AHEAD_S = 60  # how far the clock that made a token may be ahead
AUDIENCE = "cinematch"


@dataclass(frozen=True)
class UserToken:
    """A token that is signed as it must be. `problem` says why it is not taken all the same, such as that it has expired."""

    user: str
    problem: str | None = None


class UserTokens:
    """The tokens of one secret; without a secret none is taken."""

    def __init__(self, secret: str) -> None:
        if secret and len(secret.encode()) < SECRET_BYTES:
            raise SettingError(
                f"user_token_secret: expected at least {SECRET_BYTES} bytes, got {len(secret.encode())}; `openssl rand -hex 32` makes one"
            )
        self._secret = secret.encode()

    def find(self, shown: str, now: float) -> UserToken | None:
        """The token that was shown; None if it is none, or not signed with the secret."""
        parts = shown.split(".")
        if not self._secret or len(parts) != 3 or not shown.isascii():
            return None
        signed = hmac.digest(self._secret, f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256)
        if not hmac.compare_digest(base64.urlsafe_b64encode(signed).rstrip(b"="), parts[2].encode()):
            return None
        head, claims = _decoded(parts[0]), _decoded(parts[1])
        if head is None or claims is None or head.get("alg") != "HS256" or "crit" in head:
            return None
        user = claims.get("sub")
        is_id = isinstance(user, (str, int)) and not isinstance(user, bool)
        return UserToken(str(user) if is_id else "", _problem(claims, now) if is_id else "it names no user (sub)")


def _problem(claims: dict[str, Any], now: float) -> str | None:
    expires, begins, audience = claims.get("exp"), claims.get("nbf", 0), claims.get("aud", AUDIENCE)
    if expires is None or not _is_number(expires) or not _is_number(begins):
        return "it has no expiry (exp, in Unix seconds)"
    if not expires > now:  # NaN is neither
        return "it has expired"
    if not expires <= now + LONGEST_S + AHEAD_S:
        return f"it expires more than {LONGEST_S} s from now"
    if not begins <= now + AHEAD_S:
        return "it does not count yet (nbf)"
    if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        return f"it is not for {AUDIENCE} (aud)"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _decoded(part: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
