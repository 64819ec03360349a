"""Users who asked to be forgotten: remembered by a salted digest, so that the list can keep them out without naming them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, UTC
from pathlib import Path

from schemas.errors import ReleaseError
from warehouse.layout import Release, Warehouse
from warehouse.locks import lock
from warehouse.sqlite import open_immutable

_HEX = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_FIELD = re.compile(r"::|[,;|\t\r\n]")


@dataclass(frozen=True)
class Forgotten:
    """The users not to be known again. Ask with `in`, giving an id as number or text."""

    salt: str
    digests: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.digests)

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, user_id: object) -> bool:
        return bool(self.digests) and digest(self.salt, user_id) in self.digests

    def names(self, text: str) -> bool:
        """Whether a field of a line of text is one of them."""
        return bool(self.digests) and any(field in self for field in fields(text))


def fields(text: str) -> list[str]:
    """The fields of a line of any delimited file, without quotes."""
    return [field.strip(" '\"") for field in _FIELD.split(text)]


def read(path: Path) -> Forgotten:
    """The list as it is now; empty where nobody was forgotten yet. Raises ReleaseError if it is damaged."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Forgotten("", frozenset())
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    salt = _value(lines[0], "salt") if lines else None
    digests = [digest for line in lines[1:] if (digest := _value(line, "digest")) is not None]
    if salt is None or len(digests) < len(lines) - 1:
        raise _damaged(path, "a line is not as it was written" if lines else "it is empty")
    return Forgotten(salt, frozenset(digests))


def salvaged(path: Path) -> Forgotten:
    """Whoever can still be read from a damaged list."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        lines = []
    salt = _value(lines[0], "salt") if lines else None
    digests = {digest for line in lines[1:] if (digest := _value(line, "digest")) is not None}
    return Forgotten(salt, frozenset(digests)) if salt is not None else Forgotten("", frozenset())


def _value(line: bytes, name: str) -> str | None:
    """Return what a line says; None if it is damaged."""
    try:
        value = json.loads(line)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) and _HEX.fullmatch(value) else None


def _damaged(path: Path, what: str) -> ReleaseError:
    return ReleaseError(f"{path}: the list of forgotten users cannot be read ({what}); put a good copy in its place")


def n_named_in(warehouse: Warehouse, release: Release) -> int:
    """Count the users of a sealed release who are on the list."""
    return len(named_in(release, read(warehouse.forgotten)))


def named_in(release: Release, known: Forgotten) -> list[int | str]:
    """The users of a release that are on the list, as the release has them."""
    if not known:
        return []
    with closing(open_immutable(release.database)) as connection:
        return [user_id for (user_id,) in connection.execute("select user_id from users") if user_id in known]


def refused_of(release: Release, known: Forgotten) -> list[tuple[str, int]]:
    """Source and line of a release's refused rows whose text names a user of the list."""
    if not known:
        return []
    with closing(open_immutable(release.database)) as connection:
        rows = connection.execute("select source, line, text from quarantine where text <> ''")
        return [(source, line) for source, line, text in rows if known.names(text)]


def names_any(release: Release, known: Forgotten) -> bool:
    """Whether a release names a user of the list, as a user or in the text of a refused row."""
    return bool(named_in(release, known) or refused_of(release, known))


def add(warehouse: Warehouse, user_id: int | str) -> None:
    """Put a user on the list, whole or not at all; twice is as good as once."""
    with lock(warehouse):
        path = warehouse.forgotten
        if user_id in read(path):
            return
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [json.dumps({"salt": secrets.token_hex(16)})]
        user_digest = digest(json.loads(lines[0])["salt"], user_id)
        lines.append(json.dumps({"digest": user_digest, "at": datetime.now(UTC).isoformat(timespec="seconds")}))
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def digest(salt: str, user_id: object) -> str:
    return hashlib.sha256(f"{salt}:{user_id}".encode()).hexdigest()
