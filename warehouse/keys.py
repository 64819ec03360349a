"""API keys: made here, shown once, kept as a digest with a name, scopes and an expiry; what a server knows of their use is beside them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

from schemas.errors import NotFound, SettingError, UsageError
from warehouse.atomic import replacing
from warehouse.layout import Warehouse
from warehouse.locks import lock

RATINGS, EVENTS, ITEMS, PROMOTE, RUN, READ = "ratings", "events", "items", "promote", "run", "read"
SCOPES = {
    RATINGS: "add, replace and remove ratings",
    EVENTS: "write events of a visit; no route asks for it yet",
    ITEMS: "hide items, and show them again",
    PROMOTE: "make a release the one that answers",
    RUN: "start a release in Airflow, and see how far it is",
    READ: "read what a private server has",
}
UNSCOPED = (RATINGS, READ)  # what a key may that was made before there were scopes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """The facts of a key, which are not the key. Times are UTC; None is never, or not known."""

    name: str
    sha256: str
    scopes: tuple[str, ...] = UNSCOPED
    created_at: datetime | None = None
    expires_at: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def digest_of(key: str) -> str:
    """A key has 256 random bits, so one round of SHA-256 is as good as many."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def scopes_of(text: str, *, separator: str = ",") -> tuple[str, ...]:
    """Scopes as they are written, `ratings,read`. Raises UsageError if one is none."""
    scopes = [part.strip() for part in text.split(separator) if part.strip()]
    unknown = [part for part in scopes if part not in SCOPES]
    if unknown or not scopes:
        raise UsageError(f"scopes: expected some of {', '.join(SCOPES)}, got {', '.join(map(repr, unknown)) or 'none'}")
    return tuple(scope for scope in SCOPES if scope in scopes)


def create(warehouse: Warehouse, name: str, *, scopes: Iterable[str] = (RATINGS,), expires_at: datetime | None = None) -> str:
    """Make a key, keep its digest under a name, and return it; it cannot be had again."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: expected up to 64 letters, digits, spaces, `.`, `_` and `-`, got {ascii(name)[:100]}")
    key, now = f"cm_{secrets.token_urlsafe(32)}", datetime.now(UTC)
    made = Key(name, digest_of(key), scopes_of(",".join(scopes)), now, expires_at)
    if made.has_expired(now):
        raise UsageError(f"--expires: expected a time to come, got {_written(expires_at)}")
    with lock(warehouse):
        kept = read(warehouse.keys)
        if name in kept:
            raise UsageError(
                f"{warehouse.keys}: there is a key named {name!r} already; give another --name, or take that one back: "
                f"cinematch keys revoke {name!r}"
            )
        _write(warehouse.keys, {**kept, name: made})
    return key


def revoke(warehouse: Warehouse, name: str) -> None:
    """Take a key back: a running server refuses it within a second. Raises NotFound if there is none of that name."""
    with lock(warehouse):
        kept = read(warehouse.keys)
        if name not in kept:
            raise NotFound(f"{warehouse.keys}: no key is named {name!r}; there are {', '.join(map(repr, kept)) or 'none'}")
        _write(warehouse.keys, {other: key for other, key in kept.items() if other != name})


def read(path: Path) -> dict[str, Key]:
    """The keys of a file by their names; empty where there is no file. Raises SettingError if it is damaged."""
    try:
        return {name: _key(name, entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SettingError(
            f"{path}: not a file of API keys ({error}); put a good copy in its place, or remove it and make keys with "
            "`cinematch keys create`"
        ) from None


def read_used(path: Path) -> dict[str, datetime]:
    """When each key was used last, by its digest, as far as servers have written; empty where nothing can be read."""
    try:
        return {digest: datetime.fromisoformat(at) for digest, at in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def note_used(warehouse: Warehouse, used: Mapping[str, datetime]) -> None:
    """Write when keys were used; of keys that are gone nothing is kept. Where two servers write at once one may be a time behind."""
    there = {key.sha256 for key in read(warehouse.keys).values()}
    known = read_used(warehouse.keys_used)
    latest = {digest: max(known.get(digest, at), at) for digest, at in used.items()}
    kept = {digest: _written(at) for digest, at in {**known, **latest}.items() if digest in there}
    _replace(warehouse.keys_used, kept)


def _key(name: str, entry: dict[str, Any]) -> Key:
    if not _DIGEST.fullmatch(entry["sha256"]):
        raise ValueError("a digest is not 64 hexadecimal digits")
    scopes, created_at, expires_at = entry.get("scopes"), entry.get("created_at"), entry.get("expires_at")
    if scopes is not None and not (isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes)):
        raise ValueError("scopes are not a list of texts")
    return Key(
        name,
        entry["sha256"],
        UNSCOPED if scopes is None else tuple(scopes),
        created_at and _time(created_at),
        expires_at and _time(expires_at),
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without its offset from UTC: {text}")
    return moment


def _written(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else None


def _write(path: Path, keys: dict[str, Key]) -> None:
    entries = {
        key.name: {
            "sha256": key.sha256, "scopes": list(key.scopes), "created_at": _written(key.created_at), "expires_at": _written(key.expires_at),
        }
        for key in keys.values()
    }  # fmt: skip
    _replace(path, entries)


def _replace(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", opener=_for_us_alone) as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)
