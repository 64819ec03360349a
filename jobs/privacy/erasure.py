"""Certificates of erasure: what `forget` removed of a user, what still names them and what removes that; closed when nothing does.

A certificate holds no id. It names its user by the digest of the list of forgotten users, and by that digest the daily audit finds
them again in whatever it looks into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

from jobs.privacy.traces import Found, traces
from schemas.errors import ReleaseError
from warehouse import forgotten
from warehouse.atomic import replacing
from warehouse.forgotten import Forgotten
from warehouse.layout import Warehouse
from warehouse.release import read_manifest, sealed_ids

FORMAT = 1


def certify(warehouse: Warehouse, known: Forgotten, user: str, removed: Mapping[str, int], places: list[Found]) -> None:
    """Write a user's certificate, or go on with the one that is there."""
    now, digest = _shown(datetime.now(UTC)), forgotten.digest(known.salt, user)
    path = _path(warehouse, digest)
    before = _read(path) if path.exists() else {}
    certificate = {
        "certificate": "erasure",
        "format": FORMAT,
        "user": f"sha256:{digest}",
        "forgotten_at": before.get("forgotten_at", now),
        "removed": [
            *before.get("removed", []), *({"at": now, "place": place, "rows": n} for place, n in removed.items() if n),
        ],
        "kept": {
            "place": warehouse.forgotten.name,
            "why": "the digest of the id, by which every later ingest and every server leaves the user out",
        },
    }  # fmt: skip
    _write(path, _checked(warehouse, certificate, places, now))


def read(warehouse: Warehouse, user: str) -> tuple[Path, dict[str, Any]]:
    """A forgotten user's certificate, and where it lies."""
    path = _path(warehouse, forgotten.digest(forgotten.read(warehouse.forgotten).salt, user))
    return path, _read(path)


def check(warehouse: Warehouse, now: datetime) -> list[dict[str, Any]]:
    """Look again for the users of open certificates; returns those that are still open."""
    known, still = forgotten.read(warehouse.forgotten), []
    for path in sorted(warehouse.erasures.glob("*.json")):
        certificate = _read(path)
        if certificate["closed_at"] is None:
            who = Forgotten(known.salt, frozenset([certificate["user"].removeprefix("sha256:")]))
            certificate = _checked(warehouse, certificate, list(traces(warehouse, who)), _shown(now))
            _write(path, certificate)
            still += [certificate] if certificate["closed_at"] is None else []
    return still


def _checked(warehouse: Warehouse, certificate: dict[str, Any], places: list[Found], now: str) -> dict[str, Any]:
    named = [one for one in places if one.n]
    releases = sorted({one.place.split("/")[1] for one in named if one.place.startswith("releases/")} & set(sealed_ids(warehouse)))
    return certificate | {
        "still_named_in": [{"place": one.place, "rows": one.n, "until": one.remedy} for one in named],
        "not_looked_into": [{"place": one.place, "until": one.remedy} for one in places if one.n is None],
        "sources": {
            "files": sorted({file for release in releases for file in _inputs(warehouse, release)}),
            "note": "read by the releases above; copies outside the warehouse, of sources, exports and backups, are not looked into",
        },
        "checked_at": now,
        "closed_at": now if not places else None,
    }


def _inputs(warehouse: Warehouse, release_id: str) -> list[str]:
    try:
        return [file["name"] for file in read_manifest(warehouse.sealed(release_id)).input.get("files", [])]
    except ReleaseError:
        return []


def _path(warehouse: Warehouse, digest: str) -> Path:
    return warehouse.erasures / f"{digest[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
        if certificate["format"] != FORMAT or not certificate["user"].startswith("sha256:") or "closed_at" not in certificate:
            raise ValueError("it is of another version")
        return certificate
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{path}: the certificate cannot be read ({error}); remove it, and run `cinematch forget` for its user again"
        ) from None


def _write(path: Path, certificate: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(certificate, indent=1) + "\n", encoding="utf-8")


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
