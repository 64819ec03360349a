"""The release that answers: promoted by its verdict or by hand, and rolled back. Promoting replaces the file `current` by one rename."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime, UTC

from schemas.errors import HeldBack, NotFound, ReleaseError
from schemas.manifest import Manifest
from warehouse import contracts, forgotten, journal, servable
from warehouse.history import promotions, standing
from warehouse.layout import Release, Warehouse
from warehouse.locks import lock
from warehouse.release import current_id, damage, read_manifest, sealed_ids
from warehouse.sealing import sync
from warehouse.signature import ANYBODY, Trusted


def promote(warehouse: Warehouse, release_id: str, *, reason: str, by: str = "hand", trusted: Trusted = ANYBODY) -> str | None:
    """Make a sealed release the current one, after comparing every byte with its manifest; returns the previous id.

    By its verdict only where that says so, and the champion it was judged against is still the current release and not
    built as of a later time; by hand whatever it says, but what was held back needs a reason. Raises HeldBack, and
    ReleaseError where it is damaged or not signed by a trusted key; then nothing has changed.
    """
    return _point(warehouse, release_id, reason=reason, by=by, undoes=None, trusted=trusted)


def _point(warehouse: Warehouse, release_id: str, *, reason: str, by: str, undoes: str | None, trusted: Trusted) -> str | None:
    release = warehouse.sealed(release_id)
    manifest = read_manifest(release)
    trusted.check_release(release)
    problems = damage(release, manifest)
    if problems:
        shown = "; ".join(f"{name} {what}" for name, what in list(problems.items())[:5])
        raise ReleaseError(f"release {release_id} is damaged ({shown}); it was not promoted. Build it again, or import a good copy")
    servable.check(release, manifest)
    with lock(warehouse):
        read_manifest(release)  # still there, now that nobody can prune it
        previous = _readable_current(warehouse)
        if previous == release_id:
            return previous
        _admit(warehouse, manifest, previous, reason=reason, by=by)
        _refill(warehouse, manifest)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"at": now, "release": release_id, "previous": previous, "by": by, "reason": reason or f"promoted by {by}"}
        entry |= {"undoes": undoes, "verdict": manifest.verdict.get("decision"), "served_model": manifest.served_model}
        journal.append(warehouse.promotions, entry)
        temporary = warehouse.folder / ".current.tmp"
        temporary.write_text(release_id + "\n", encoding="utf-8")
        sync(temporary)
        os.replace(temporary, warehouse.current)
        sync(warehouse.folder)
    return previous


def _readable_current(warehouse: Warehouse) -> str | None:
    """Return the id as `current_id` does, and None for a damaged pointer, which is about to be written anew."""
    try:
        return current_id(warehouse)
    except ReleaseError:
        return None


def _refill(warehouse: Warehouse, manifest: Manifest) -> None:
    """Give a release that comes back the online ratings that it does not contain. An overlay that cannot be read is no reason
    to keep a release from being promoted."""
    from warehouse import online  # imports Parquet: only where a pointer moves

    try:
        online.refill(warehouse, manifest)
    except (ReleaseError, sqlite3.DatabaseError):
        return


def _admit(warehouse: Warehouse, manifest: Manifest, current: str | None, *, reason: str, by: str) -> None:
    """Raises HeldBack if a release may not be promoted so."""
    name, verdict = manifest.release, manifest.verdict
    goes_on = f"; {current} goes on" if current else "; no release is promoted"
    by_hand = f"`cinematch releases promote {name} --reason ...` promotes it all the same"
    if verdict.get("decision") == "hold back" and (by == "verdict" or not reason):
        raise HeldBack(f"release {name} is held back: {verdict['reason']}{goes_on}. {by_hand}")
    n_forgotten = forgotten.n_named_in(warehouse, warehouse.sealed(name)) if by == "verdict" else 0
    if n_forgotten:
        raise HeldBack(
            f"release {name} has {n_forgotten:,} users who were forgotten while it was built{goes_on}. Build a new one, which "
            f"leaves them out, or {by_hand}"
        )
    if by == "verdict" and current and _is_newer(warehouse.sealed(current), manifest):
        raise HeldBack(f"release {name} is as of {manifest.as_of}, and {current} is newer{goes_on}. {by_hand}")
    broken = contracts.broken(warehouse.sealed(current), warehouse.sealed(name)) if by == "verdict" and current else []
    if broken:
        raise HeldBack(
            f"release {name} does not keep the contract of {current}: {'; '.join(broken[:5])}{goes_on}. Give the contract a new major "
            f"version (schemas/contract.py), or {by_hand}"
        )
    judged_beside = verdict.get("current", verdict.get("champion", current))
    if by == "verdict" and judged_beside != current:
        raise HeldBack(
            f"release {name} was judged against {judged_beside or 'no release'}, and meanwhile {current or 'none'} is "
            f"promoted{goes_on}. Build it again to compare it with that, or {by_hand}"
        )


def _is_newer(current: Release, manifest: Manifest) -> bool:
    """Whether the current release knows of a later time; one that cannot be read is no reason to keep it."""
    try:
        now = read_manifest(current).as_of
    except (NotFound, ReleaseError):
        return False
    return datetime.fromisoformat(now) > datetime.fromisoformat(manifest.as_of)


def last_promoted(warehouse: Warehouse) -> str | None:
    """The release that was promoted last, by the list of promotions, where it is still here: for when the pointer is not."""
    here, promoted = set(sealed_ids(warehouse)), promotions(warehouse)
    last = promoted[-1].get("release") if promoted else None
    return last if last in here else None


def rollback(warehouse: Warehouse, *, reason: str = "", trusted: Trusted = ANYBODY) -> str:
    """Promote the release that was current before this one, and at the next time the one before that; returns its id."""
    now, here = current_id(warehouse), set(sealed_ids(warehouse))
    usable = [name for name in standing(warehouse, now) if name != now and name in here]
    if not usable:
        raise ReleaseError(f"no release to roll back to: nothing that is still here was current before {now or 'the first promotion'}")
    why = f"rolled back from {now}" + (f": {reason}" if reason else "")
    _point(warehouse, usable[-1], reason=why, by="hand", undoes=now, trusted=trusted)
    return usable[-1]
