"""GET /data: what came in and what was refused of it, over all releases, whether the data changed, and what the checks found."""

from __future__ import annotations

import asyncio
import math
import re
from functools import lru_cache
from typing import Any

from schemas.manifest import Manifest
from serving.lookups.quality import sealed_manifests
from serving.lookups.releases import Standing
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse import journal
from warehouse.forgotten import Forgotten
from warehouse.layout import Warehouse

SAMPLES = 3  # rows of each reason that are shown
LOOKED_AT = 100  # the first rows of each reason, among which samples are looked for
SHOWN = 300  # characters of a row
REASONS = 100
OTHERS = "other reasons"
RECENT = 20  # changes since the current release, and checks that kept one from being sealed
LARGEST = 2**63
MOST_TEXT, MOST_WORDS = 2_000, 40  # of a row that may be searched for forgotten users, and of an id

_BY_LINE = "select source, line, text, reason from quarantine order by source, line"
_VALUE = re.compile(r"^(user_id|item_id|rating|weight|rated_at) .+ (is (?:not|off|before|after|larger|already) .*)$", re.DOTALL)
_NUMBER = re.compile(r"\b(got|line|character) [0-9]+$")
_PIECE = re.compile(r"\w+|\W")
_CHANGE = ("figure", "before", "now", "limit", "message")
_FINDING = ("at", "release", "question", "level", "value", "limit", "message")


async def data(service: Service, request: Request) -> Response:
    """The reasons that rows of the release were refused for, most rows first, with a few of the rows; beside them the figures of
    every sealed release's input, the oldest first, what the data guard said, what each check found in each release, which checks kept one
    from being sealed, and the last audit. Values in a reason are left out (…), so that reasons that differ in nothing else are one. Rows
    that may name a user who was forgotten are not shown."""
    opened = request.opened
    refused = await _refused(service, opened)
    beside = await asyncio.to_thread(_beside, service, opened.manifest)
    n_read = _n_read(opened.manifest)
    return Response(
        rows=[{**row, "share": row["n_rows"] / n_read if n_read else 0.0} for row in refused],
        key="reason",
        opened=opened,
        extra={"n_read": n_read, "n_refused": sum(row["n_rows"] for row in refused), **beside, "source": "quarantine"},
    )


async def _refused(service: Service, opened: OpenRelease) -> list[dict[str, Any]]:
    """Return the reasons of a release, read once while it is open and nobody is forgotten; requests that wait share it."""
    known, kept = service.users.forgotten.known, service.releases.refused
    if opened not in kept or kept[opened][0] != known:
        kept[opened] = known, asyncio.ensure_future(service.threads.long(opened, refused_rows, known))
    reading = kept[opened]
    try:
        return await asyncio.shield(reading[1])
    except Exception:
        if kept.get(opened) is reading:
            del kept[opened]
        raise


def refused_rows(opened: OpenRelease, known: Forgotten) -> list[dict[str, Any]]:
    """Count the refused rows of each reason, and keep the first few that name nobody of the list."""
    rows: dict[str, dict[str, Any]] = {}
    for source, line, text, reason in opened.reader().execute(_BY_LINE):
        kind = kind_of(reason)
        if kind not in rows and len(rows) >= REASONS:
            kind = OTHERS
        row = rows.setdefault(kind, {"reason": kind, "n_rows": 0, "share": 0.0, "samples": []})
        row["n_rows"] += 1
        if len(row["samples"]) < SAMPLES and row["n_rows"] <= LOOKED_AT and not may_name(known, text):
            row["samples"].append({"source": source, "line": line, "text": text if len(text) <= SHOWN else f"{text[:SHOWN]}…"})
    return sorted(rows.values(), key=lambda row: (-row["n_rows"], row["reason"]))


@lru_cache(10_000)
def kind_of(reason: str) -> str:
    """A reason without the values that it quotes, such as `weight … is not positive`."""
    return _NUMBER.sub(r"\1 …", _VALUE.sub(r"\1 … \2", reason))


def may_name(known: Forgotten, text: str) -> bool:
    """Whether a row as read may name a user of the list, wherever in it and however its fields are told apart. Each stretch from where a
    word begins or ends to another such place is looked for; a row with escapes, or a long one, cannot be told to be free of them."""
    if not known:
        return False
    if "\\" in text or len(text) > MOST_TEXT:
        return True
    pieces = _PIECE.findall(text.replace('""', '"'))
    if any(piece.isdecimal() and str(int(piece)) in known for piece in pieces):  # 007 is the user 7
        return True
    stretches = {
        "".join(pieces[start:end]) for start in range(len(pieces)) for end in range(start + 1, min(start + MOST_WORDS, len(pieces)) + 1)
    }
    return known.names(text) or any(stretch in known for stretch in stretches)


def _n_read(manifest: Manifest) -> int:
    """Count the rows that were read for a release; those of the catalogue too, where some of them were refused."""
    catalogue = _ingested(manifest)
    return manifest.rows["read"] + ((catalogue["n_catalogue_rows"] or 0) if catalogue["n_catalogue_quarantined"] else 0)


def _beside(service: Service, current: Manifest) -> dict[str, Any]:
    """Return what manifests and journals say. From any thread."""
    standing, manifests = Standing.of(service), sealed_manifests(service)
    return {
        "releases": [
            {
                "release": manifest.release,
                "created_at": manifest.created_at,
                "status": standing.status(manifest),
                **{f"n_{name}": manifest.rows[name] for name in ("read", "accepted", "duplicates", "quarantined")},
                **{f"n_{name}": manifest.counts[name] for name in ("users", "items", "ratings")},
                **_ingested(manifest),
            }
            for manifest in manifests
        ],
        "checks": _checks(manifests),
        "guard": _guard(current),
        **_findings(service.warehouse, current),
    }


def _checks(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Return every check with the rows that it found in each release that kept what it said, the oldest first."""
    checks: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        for row in manifest.check_rows:
            known = {"check": row["name"], "table_name": row["table_name"], "severity": row["severity"], "n_rows": 0, "releases": []}
            check = checks.setdefault(row["name"], known)
            check["n_rows"] += row["n_rows"]
            check["releases"].append({"release": manifest.release, "n_rows": row["n_rows"]})
    return list(checks.values())


def _ingested(manifest: Manifest) -> dict[str, int | None]:
    """Return the figures of the catalogue and of retention; null where a release did not record them."""
    step = next((step for step in manifest.steps if step["step"] == "ingest"), {})
    names = ("n_catalogue_rows", "n_catalogue_quarantined", "n_expired")
    return {name: step[name] if type(step.get(name)) is int else None for name in names}


def _guard(manifest: Manifest) -> dict[str, Any] | None:
    """Return what the data guard said of a release: against which, what was beyond its limits, and all figures before and now."""
    kept = manifest.verdict.get("data")
    if not isinstance(kept, dict):
        return None
    now, before = (kept[name] if isinstance(kept.get(name), dict) else {} for name in ("profile", "before"))
    return {
        "against": kept.get("against"),
        "note": kept.get("note") or "",
        "is_accepted": kept.get("is_accepted") is True,
        "changes": [{name: _plain(change.get(name)) for name in _CHANGE} for change in _objects(kept.get("changes"))],
        "figures": [{"figure": name, "before": _plain(before.get(name)), "now": _plain(value)} for name, value in now.items()],
    }


def _findings(warehouse: Warehouse, manifest: Manifest) -> dict[str, Any]:
    """Return the last audit of the current release, what the guard found in the data of those that came after it, which may never have
    been sealed, and the checks that kept one from being sealed."""
    try:
        entries = [{name: _plain(entry.get(name)) for name in _FINDING} for entry in _objects(journal.read(warehouse.findings))]
    except (OSError, ValueError):  # a journal that cannot be read hides nothing else
        entries = []
    audits = [entry for entry in entries if entry["release"] == manifest.release and not _is_of(entry, "data_", "seal_")]
    others = [entry for entry in entries if entry["release"] != manifest.release and _is_of(entry, "data_")]
    return {
        "audit": [entry for entry in audits if entry["at"] == audits[-1]["at"]],
        "changes_since": [entry for entry in others if str(entry["at"]) > manifest.created_at][-RECENT:],
        "not_sealed": [entry for entry in entries if _is_of(entry, "seal_")][-RECENT:],
    }


def _is_of(entry: dict[str, Any], *questions: str) -> bool:
    """Whether a finding is of such questions, by how their names begin: those of the data guard and of seal, else of an audit."""
    return str(entry["question"]).startswith(questions)


def _objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _plain(value: Any) -> Any:
    """A text or a number; null for whatever else may stand in a file."""
    is_number = isinstance(value, int | float) and math.isfinite(value) and abs(value) < LARGEST
    return value if is_number or isinstance(value, str) else None
