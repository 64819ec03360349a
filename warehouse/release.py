"""Sealed releases: which there are, which is current, and whether each is whole.

A release is built in `releases/.staging/<id>`, where a crash means that nothing has happened; it is sealed (`sealing.py`),
promoted (`promotion.py`) and at last pruned (`pruning.py`). Each of these is one rename, so at any instant `current` names a
complete release or there is none.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.errors import NotFound, ReleaseError, StepError
from schemas.manifest import Manifest
from warehouse.layout import is_id, Release, RESERVED, Warehouse

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
    """Raises NotFound if there is no such release, ReleaseError where it is not complete."""
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
    """Id of the promoted release, or None before the first promotion. Raises ReleaseError if the pointer is damaged."""
    try:
        content = warehouse.current.read_bytes().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReleaseError(f"{warehouse.current}: cannot be read ({error.strerror}); {_REPOINT}") from None
    name = content.decode("ascii", "replace")
    if not is_id(name):
        raise ReleaseError(f"{warehouse.current}: expected the id of a release, got {content[:40]!r}; {_REPOINT}")
    return name


def named(warehouse: Warehouse, name: str) -> str:
    """The id that a name stands for: `current` the promoted release, `latest` the newest sealed one, any other name itself.
    Raises NotFound if there is no such release yet."""
    if name not in RESERVED:
        return name
    release_id = current_id(warehouse) if name == "current" else next(reversed(sealed_ids(warehouse)), None)
    if release_id is None:
        raise NotFound(
            f"{name}: no release is {'promoted' if name == 'current' else 'sealed'} in {warehouse.folder} yet{_elsewhere(warehouse)}"
        )
    return release_id


def _elsewhere(warehouse: Warehouse) -> str:
    """Where releases are instead, if that is the folder that was the default before."""
    before = warehouse.folder.with_name("warehouse") / "data"
    is_there = warehouse.folder.name == "data" and (before / "releases").is_dir()
    return f". There are releases in {before}, the default until now: name it with --warehouse, or move it" if is_there else ""


def current(warehouse: Warehouse) -> tuple[Release, Manifest]:
    """The promoted release. Raises NotFound before the first promotion, ReleaseError where it is damaged."""
    release_id = current_id(warehouse)
    if release_id is None:
        raise NotFound(f"{warehouse.folder}: no release is promoted yet; run `cinematch run --source sample`{_elsewhere(warehouse)}")
    release = warehouse.sealed(release_id)
    return release, read_manifest(release)


def digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def digests(release: Release) -> dict[str, dict[str, Any]]:
    """Size and digest of every file of a release but its manifest and the signature of that, by path within it."""
    paths = sorted(p for p in release.folder.rglob("*") if p.is_file() and p not in (release.manifest, release.signature))
    return {path.relative_to(release.folder).as_posix(): digest(path) for path in paths}


def damage(release: Release, manifest: Manifest) -> dict[str, str]:
    """Return what is wrong with each file of a sealed release: missing, changed or unexpected; empty when whole."""
    actual = digests(release)
    problems = {name: "missing" for name in manifest.files if name not in actual}
    problems |= {name: "not in the manifest" for name in actual if name not in manifest.files}
    problems |= {name: "changed" for name in actual if name in manifest.files and actual[name] != manifest.files[name]}
    return problems


def damaged(release: Release, name: str, what: str) -> ReleaseError:
    """Return the error that says what is wrong with a file of a sealed release; `name` is its path within it."""
    return ReleaseError(
        f"release {release.id}: {name} {what}; run `cinematch releases verify {release.id}`, and roll back or import a good copy"
    )


def check_there(release: Release, manifest: Manifest, folder: Path) -> None:
    """Raises ReleaseError where a file of one of a sealed release's folders is missing."""
    within = f"{folder.relative_to(release.folder).as_posix()}/"
    for name in manifest.files:
        if name.startswith(within) and not (release.folder / name).is_file():
            raise damaged(release, name, "is missing")
