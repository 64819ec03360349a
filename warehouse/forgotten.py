"""Users who asked to be forgotten: remembered by a salted digest, so that the list can keep them out without naming them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from datetime import datetime, timezone
from pathlib import Path

from warehouse.layout import Warehouse
from warehouse.release import lock


class Forgotten:
    """The users not to be known again. Ask with `in`, giving an id as number or text."""

    def __init__(self, salt: str, digests: frozenset[str]) -> None:
        self._salt, self._digests = salt, digests

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, user_id: object) -> bool:
        return bool(self._digests) and _digest(self._salt, user_id) in self._digests


def read(path: Path) -> Forgotten:
    """The list as it is now; empty where nobody was forgotten yet."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return Forgotten("", frozenset())
    return Forgotten(lines[0]["salt"], frozenset(line["digest"] for line in lines[1:]))


def add(warehouse: Warehouse, user_id: int | str) -> None:
    """Put a user on the list, whole or not at all; twice is as good as once."""
    with lock(warehouse):
        path = warehouse.forgotten
        lines = (
            path.read_text(encoding="utf-8").splitlines()
            if path.exists()
            else [json.dumps({"salt": secrets.token_hex(16)})]
        )
        digest = _digest(json.loads(lines[0])["salt"], user_id)
        if any(json.loads(line).get("digest") == digest for line in lines):
            return
        lines.append(json.dumps({"digest": digest, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")}))
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def _digest(salt: str, user_id: object) -> str:
    return hashlib.sha256(f"{salt}:{user_id}".encode()).hexdigest()
