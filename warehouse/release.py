"""The life of a release: staged, sealed, promoted, pruned.

A release is built in `releases/.staging/<id>`, where a crash means that nothing has happened. Sealing writes the manifest
last, syncs every file, makes them read-only and renames the folder; promoting replaces the file `current`. Both are one
rename, so at any instant `current` names a complete release or there is none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta, UTC
from pathlib import Path
from typing import Any

from schemas.errors import HeldBack, NotFound, ReleaseError, StepError, UsageError
from schemas.manifest import Manifest
from warehouse import forgotten, journal, servable
from warehouse.history import promotions, prunable, standing
from warehouse.layout import is_id, Release, RESERVED, Warehouse
from warehouse.locks import lock
from warehouse.signature import ANYBODY, SigningKey, Trusted

_REMOVED = ".removed"
_REPOINT = "promote a release, and it is written anew"


def new_id(warehouse: Warehouse, now: datetime) -> str:
    """An id that sorts after every other release: the UTC time, and a letter more where that second is taken."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", *"abcdefghijklmnopqrstuvwxyz"):
        staged = warehouse.staged(stamp + suffix)
        if not any(path.exists() for path in (warehouse.sealed(stamp + suffix).folder, staged.folder, staged.owner)):
            return stamp + suffix
    raise StepError(f"release {stamp}: 27 releases in one second; wait a second and try again")


def read_manifest(release: Release) -> Manifest:
    """Raises NotFound where there is no such release, ReleaseError where it is not complete."""
    try:
        manifest = Manifest.from_json(release.manifest.read_text(encoding="utf-8"), name=release.id)
    except (UnicodeDecodeError, PermissionError, IsADirectoryError) as error:
        raise ReleaseError(f"release {release.id}: manifest.json cannot be read ({error})") from None
    except FileNotFoundError:
        if release.folder.exists():
            raise ReleaseError(
                f"release {release.id}: {release.folder} has no manifest.json, so it is not a release; remove the folder"
            ) from None
        raise NotFound(f"release {release.id}: not in {release.folder.parent}; `cinematch releases list` shows those that are") from None
    if manifest.release != release.id:
        raise ReleaseError(
            f"release {release.id}: its manifest is that of {manifest.release!r}; the folder was renamed or copied, rename it back"
        )
    manifest.check()
    return manifest


def sealed_ids(warehouse: Warehouse) -> list[str]:
    """Ids of all sealed releases, oldest first. A folder without a manifest is not a release, nor is one whose name is no id."""
    if not warehouse.releases.exists():
        return []
    return sorted(p.name for p in warehouse.releases.iterdir() if is_id(p.name) and (p / "manifest.json").is_file())


def current_id(warehouse: Warehouse) -> str | None:
    """Id of the promoted release, or None before the first promotion. Raises ReleaseError where the pointer is damaged."""
    try:
        found = warehouse.current.read_bytes().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReleaseError(f"{warehouse.current}: cannot be read ({error.strerror}); {_REPOINT}") from None
    name = found.decode("ascii", "replace")
    if not is_id(name):
        raise ReleaseError(f"{warehouse.current}: expected the id of a release, got {found[:40]!r}; {_REPOINT}")
    return name


def named(warehouse: Warehouse, name: str) -> str:
    """The id that a name stands for: `current` the promoted release, `latest` the newest sealed one, any other name itself.
    Raises NotFound where there is no such release yet."""
    if name not in RESERVED:
        return name
    found = current_id(warehouse) if name == "current" else next(reversed(sealed_ids(warehouse)), None)
    if found is None:
        raise NotFound(
            f"{name}: no release is {'promoted' if name == 'current' else 'sealed'} in {warehouse.folder} yet{_elsewhere(warehouse)}"
        )
    return found


def _elsewhere(warehouse: Warehouse) -> str:
    """Where releases are instead, if that is the folder that was the default before."""
    before = warehouse.folder.with_name("warehouse") / "data"
    is_there = warehouse.folder.name == "data" and (before / "releases").is_dir()
    return f". There are releases in {before}, the default until now: name it with --warehouse, or move it" if is_there else ""


def current(warehouse: Warehouse) -> tuple[Release, Manifest]:
    """The promoted release. Raises NotFound before the first promotion, ReleaseError where it is damaged."""
    found = current_id(warehouse)
    if found is None:
        raise NotFound(f"{warehouse.folder}: no release is promoted yet; run `cinematch run --source sample`{_elsewhere(warehouse)}")
    release = warehouse.sealed(found)
    return release, read_manifest(release)


def digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def digests(release: Release) -> dict[str, dict[str, Any]]:
    """Size and digest of every file of a release but its manifest and the signature of that, by path within it."""
    paths = sorted(p for p in release.folder.rglob("*") if p.is_file() and p not in (release.manifest, release.signature))
    return {path.relative_to(release.folder).as_posix(): digest(path) for path in paths}


def seal(warehouse: Warehouse, staged: Release, manifest: Manifest, *, key: SigningKey | None = None, signed: str | None = None) -> Release:
    """Make a staged release final, signed by a key or with the signature that it has. Its folder must hold nothing but what
    belongs to it."""
    sealed = warehouse.sealed(staged.id)
    if sealed.folder.exists():
        raise StepError(f"release {staged.id} is already sealed; a sealed release is never written again")
    temporary = staged.folder / ".manifest.tmp"
    text = manifest.to_json()
    if key is not None:
        signed = _signed(manifest, text, key)
    if signed is not None:
        staged.signature.write_text(signed, encoding="utf-8")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, staged.manifest)
    for path in sorted(staged.folder.rglob("*"), reverse=True):
        sync(path)
        if path.is_file():
            path.chmod(0o444)
    sync(staged.folder)
    os.rename(staged.folder, sealed.folder)
    for path in [*sealed.folder.rglob("*"), sealed.folder]:
        if path.is_dir():
            path.chmod(0o555)
    sync(warehouse.releases)
    return sealed


def sign(warehouse: Warehouse, release_id: str, key: SigningKey) -> None:
    """Sign a release that is sealed already, in place of the signature that it may have."""
    release = warehouse.sealed(release_id)
    manifest = read_manifest(release)
    problems = damage(release, manifest)
    text = release.manifest.read_text(encoding="utf-8")
    if problems or text != manifest.to_json():
        name, what = next(iter(problems.items()), ("manifest.json", "without a digest of its own"))
        raise ReleaseError(f"release {release_id}: {name} is {what}; it was not signed. Roll back, or import a good copy")
    with lock(warehouse):
        release.folder.chmod(0o755)
        try:
            temporary = release.folder / ".signature.tmp"
            temporary.write_text(_signed(manifest, text, key), encoding="utf-8")
            temporary.chmod(0o444)
            sync(temporary)
            os.replace(temporary, release.signature)
            sync(release.folder)
        finally:
            release.folder.chmod(0o555)


def _signed(manifest: Manifest, text: str, key: SigningKey) -> str:
    at = int(datetime.now(UTC).timestamp())
    return key.sign(text.encode(), comment=f"timestamp:{at}\tfile:manifest.json\trelease:{manifest.release}\thashed")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damage(release: Release, manifest: Manifest) -> dict[str, str]:
    """Return what is wrong with each file of a sealed release: missing, changed or unexpected; empty when whole."""
    found = digests(release)
    problems = {name: "missing" for name in manifest.files if name not in found}
    problems |= {name: "not in the manifest" for name in found if name not in manifest.files}
    problems |= {name: "changed" for name in found if name in manifest.files and found[name] != manifest.files[name]}
    return problems


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
    """Raises HeldBack where a release may not be promoted so."""
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


def to_prune(warehouse: Warehouse, *, keep: int, keep_days: int = 0) -> dict[str, str]:
    """Return what pruning would remove, each release with the reason why it need not be kept."""
    sealed, now = sealed_ids(warehouse), current_id(warehouse)
    found = prunable(warehouse, sealed, now, keep=keep)
    if keep_days:
        before = datetime.now(UTC) - timedelta(days=keep_days)
        stay = {now, *[name for name in standing(warehouse, now) if name in sealed and name != now][-1:]}
        found |= {
            name: f"older than {keep_days} days"
            for name in sealed
            if name not in stay | found.keys() and _is_older(warehouse, name, before)
        }
    return found


def _is_older(warehouse: Warehouse, name: str, than: datetime) -> bool:
    """Whether a release was built before a time; one that cannot be read is kept, to be looked at."""
    try:
        return datetime.fromisoformat(read_manifest(warehouse.sealed(name)).created_at) < than
    except ReleaseError:
        return False


def prune(warehouse: Warehouse, *, keep: int, keep_days: int = 0) -> dict[str, str]:
    """Remove what need not be kept; returns the releases removed, each with the reason."""
    with lock(warehouse):
        doomed = to_prune(warehouse, keep=keep, keep_days=keep_days)
        _take_away(warehouse, doomed)
    return doomed


def naming_forgotten(warehouse: Warehouse) -> dict[str, str]:
    """The sealed releases but the current one that name users who were forgotten, or may: what cannot be looked into."""
    known, now, found = forgotten.read(warehouse.forgotten), current_id(warehouse), {}
    for name in sealed_ids(warehouse) if known else ():
        try:
            is_named = name != now and forgotten.names_any(warehouse.sealed(name), known)
        except (ReleaseError, sqlite3.Error):
            found[name] = "cannot be looked into for forgotten users"
            continue
        if is_named:
            found[name] = "names forgotten users"
    return found


def prune_forgotten(warehouse: Warehouse) -> dict[str, str]:
    """Remove those releases, however few are kept."""
    with lock(warehouse):
        doomed = naming_forgotten(warehouse)
        _take_away(warehouse, doomed)
    return doomed


def droppable(warehouse: Warehouse, names: Iterable[str]) -> dict[str, str]:
    """The releases named, whatever would be kept otherwise. Raises NotFound, and UsageError for the current one."""
    for name in names:
        if name not in sealed_ids(warehouse):
            raise NotFound(f"release {name}: not in {warehouse.releases}; nothing was removed")
        if name == current_id(warehouse):
            raise UsageError(f"release {name} is the current one; promote another first. Nothing was removed")
    return dict.fromkeys(names, "named")


def drop(warehouse: Warehouse, names: Iterable[str]) -> dict[str, str]:
    """Remove the releases named, all or none; returns them."""
    with lock(warehouse):
        doomed = droppable(warehouse, names)
        _take_away(warehouse, doomed)
    return doomed


def _take_away(warehouse: Warehouse, names: Iterable[str]) -> None:
    """Out of sight by one rename each, then removed."""
    for name in names:
        folder = warehouse.sealed(name).folder
        folder.chmod(stat.S_IRWXU)
        warehouse.staging.mkdir(exist_ok=True)
        os.rename(folder, warehouse.staging / f"{name}{_REMOVED}")
    finish_removals(warehouse)


def finish_removals(warehouse: Warehouse) -> None:
    """Remove what pruning took out of sight; a crash may have cut an earlier one short."""
    for folder in warehouse.staging.glob(f"*{_REMOVED}"):
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder of a release that is not, or no longer, to be seen; read-only or not."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
