"""A staged release made final: the manifest is written last, every file synced and made read-only, the folder renamed."""

from __future__ import annotations

import os
from datetime import datetime, UTC
from pathlib import Path

from schemas.errors import ReleaseError, StepError
from schemas.manifest import Manifest
from warehouse.layout import Release, Warehouse
from warehouse.locks import lock
from warehouse.release import damage, read_manifest
from warehouse.signature import SigningKey


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
