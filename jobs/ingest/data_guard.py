"""The data guard: before anything is trained, the data of a release against that of the promoted one.

A week changes a source a little. An old backup, a filter of an export, a renumbering or a wrong column change it much, and a
model that is trained on it may still look well by its own held-out rows. What is beyond the limits ends the run early.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import asdict
from datetime import datetime, UTC
from typing import Any

import pyarrow as pa

from jobs.ingest import retention
from jobs.ingest.data_limits import Change, changes
from jobs.ingest.data_profile import Data, Profile, profile, shared
from jobs.staging.record import Facts
from schemas.errors import CineMatchError
from schemas.manifest import Manifest
from schemas.settings import Settings
from warehouse import release as releases
from warehouse.findings import Finding, keep
from warehouse.layout import Release, Warehouse

log = logging.getLogger("cinematch")


def promoted(warehouse: Warehouse) -> tuple[Release, Manifest] | None:
    """The promoted release; None if there is none, or none that can be read, which the verdict then says."""
    try:
        return releases.current(warehouse)
    except CineMatchError:
        return None


def is_of_other_sample(manifest: Manifest, settings: Settings) -> bool:
    """Whether the promoted release is of a generated sample, and this is not the same: it gives way to any source."""
    mine, theirs = settings.recorded(), manifest.settings
    return manifest.source == "sample" and any(mine[name] != theirs.get(name) for name in ("source", "scale", "seed"))


def is_earlier(manifest: Manifest, as_of: str) -> bool:
    """Whether a release is as of an earlier time than the promoted one, and so is never promoted by itself."""
    return datetime.fromisoformat(as_of) < datetime.fromisoformat(manifest.as_of)


def guard(warehouse: Warehouse, release: Release, data: Data, settings: Settings, *, source: str, as_of: str) -> dict[str, Any]:
    """Compare the data with the promoted release's; returns what the manifest keeps of it: the figures of both releases, against which, and every change."""
    now = profile(data)
    kept: dict[str, Any] = {"profile": asdict(now), "against": None, "changes": [], "note": "", "is_accepted": False}
    current = promoted(warehouse)
    if current is None:
        return kept | {
            "note": "no release is promoted yet" if releases.current_id(warehouse) is None else "the promoted release cannot be read"
        }
    sealed, manifest = current
    if is_of_other_sample(manifest, settings):
        return kept | {"note": f"release {manifest.release} is of the generated sample, which gives way to any other source"}
    if is_earlier(manifest, as_of):
        return kept | {"note": f"it is as of an earlier time than release {manifest.release}, and is promoted by hand alone"}
    try:
        beyond, before = _compared(
            data, now, sealed, manifest, settings, source, retention.earliest(settings, datetime.fromisoformat(as_of))
        )
    except (OSError, pa.ArrowException, sqlite3.Error, KeyError) as error:
        log.warning("ingest: the tables of release %s cannot be compared with: %s", manifest.release, error)
        return kept | {"note": f"the tables of release {manifest.release} cannot be read ({error})"}
    kept |= {"against": manifest.release, "before": asdict(before), "changes": [asdict(change) for change in beyond]}
    for change in beyond:
        log.warning("ingest: release %s against %s: %s", release.id, manifest.release, change.message)
    if beyond:
        _note_findings(warehouse, release, manifest, beyond)
    return kept | {"is_accepted": bool(beyond) and settings.data_guard == "accept"}


def guard_again(warehouse: Warehouse, release: Release, facts: Facts, settings: Settings) -> dict[str, Any]:
    """Return what ingest found, or, if another release is promoted since then, the comparison with that."""
    if facts.data["against"] == releases.current_id(warehouse):
        return facts.data
    data = Data.staged(release, facts.rows, facts.rating_scale, facts.ids)
    return guard(warehouse, release, data, settings, source=facts.source, as_of=facts.as_of)


def _compared(
    data: Data, now: Profile, sealed: Release, manifest: Manifest, settings: Settings, source: str, since: datetime | None
) -> tuple[list[Change], Profile]:
    """Changes beyond a week's, and the figures of the promoted release; what retention leaves out now counts as if that had not
    had it either."""
    earlier = Data.sealed(sealed, manifest.rows, manifest.rating_scale, manifest.id_types)
    before = profile(earlier)
    if since is not None and before.first_rated_at is not None and before.first_rated_at < since.timestamp() <= before.last_rated_at:
        earlier = earlier.retained(since)
        before = profile(earlier)
    beyond = changes(now, before, shared(data, earlier), settings)
    if manifest.source != source:
        beyond.insert(0, Change("source", None, None, None, f"the source is {source} now and was {manifest.source}"))
    return beyond, before


def _note_findings(warehouse: Warehouse, release: Release, manifest: Manifest, beyond: list[Change]) -> None:
    """Keep every change among the findings, where `catalog.db` has them; the release itself may never be sealed."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    against = f"against {manifest.release}"
    keep(
        warehouse,
        (Finding(at, release.id, f"data_{one.figure}", "warning", one.now, one.limit, f"{against}: {one.message}") for one in beyond),
    )


def held_back(kept: dict[str, Any], release_id: str) -> str:
    """Why a release goes no further, a line for each change; empty where it may."""
    if not kept["changes"] or kept["is_accepted"]:
        return ""
    lines = "".join(f"\n  - {change['message']}" for change in kept["changes"])
    return (
        f"release {release_id} is held back before it is trained: its data differs from that of {kept['against']} by more than a week "
        f"changes:{lines}\n{kept['against']} goes on. Put the source right and run it again; or, where the change is meant, run it once "
        f"with --data-guard accept"
    )
