"""A release as one file, to be carried to another warehouse: a zip whose manifest can be read without unpacking."""

from __future__ import annotations

import errno
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from schemas.errors import ReleaseError, ResourceError, StepError, UsageError
from schemas.manifest import Manifest
from warehouse import servable, signature
from warehouse.claims import claimed, sweep
from warehouse.layout import checked_id, Release, Warehouse
from warehouse.release import damage, read_manifest
from warehouse.sealing import seal

SUFFIX = ".cinematch.zip"
MANIFEST_BYTES = 64 << 20
SIGNATURE = "manifest.json.minisig"
_MEMBER = re.compile(r"([\w.-]{1,100}/){0,4}[\w.-]{1,200}")
# Encrypted, packed in a way unknown to Python, damaged in any way: each decompressor has errors of its own.
_ODD = (OSError, EOFError, KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def write(warehouse: Warehouse, release_id: str, path: Path) -> Path:
    """Export a sealed release; `path` is a file `*.zip` that is not there yet, or a folder to put it in. The manifest is the
    first member, its signature the second where it has one."""
    release = warehouse.sealed(release_id)
    manifest = read_manifest(release)
    problems = damage(release, manifest)
    if problems:
        name, what = next(iter(problems.items()))
        raise ReleaseError(f"release {release_id}: {name} is {what}; it was not exported. Roll back, or import a good copy")
    path = _target(path, release_id)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            first = [file.name for file in (release.manifest, release.signature) if file.exists()]
            for name in (*first, *manifest.files):
                archive.write(release.folder / name, name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _target(path: Path, release_id: str) -> Path:
    """The file to write. Raises UsageError if that is not clear, and where there is one."""
    folder = path.parent if path.suffix == ".zip" and not path.is_dir() else path
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; make it first, or name a file that ends in .zip in one that is there")
    target = path / f"{release_id}{SUFFIX}" if path.is_dir() else path
    if target.exists():
        raise UsageError(f"{target}: is there already; remove it, or name another file")
    return target


def read(path: Path) -> Manifest:
    """The manifest of an exported file, without unpacking anything else. Raises ReleaseError if it is none."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Manifest, str, str | None]:
    """The manifest, its text and its signature."""
    try:
        with zipfile.ZipFile(path) as archive:
            text = _text(archive, "manifest.json", MANIFEST_BYTES)
            is_signed = SIGNATURE in archive.namelist()
            signed = _text(archive, SIGNATURE, signature.LARGEST) if is_signed else None
        manifest = Manifest.from_json(text, name=path.name)
    except FileNotFoundError:
        raise ReleaseError(f"{path}: no such file") from None
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _ODD as error:
        raise ReleaseError(f"{path}: not an exported release ({error}); expected a file made by `cinematch releases export`") from None
    manifest.check()
    return manifest, text, signed


def _text(archive: zipfile.ZipFile, name: str, n_bytes: int) -> str:
    with archive.open(name) as member:
        text = member.read(n_bytes + 1)
    if len(text) > n_bytes:
        raise ValueError(f"its {name} has more than {n_bytes:,} bytes")
    return text.decode("utf-8")


def import_(
    warehouse: Warehouse,
    path: Path,
    *,
    check: Callable[[Release, Manifest], None] = lambda staged, manifest: None,
    trusted: signature.Trusted = signature.ANYBODY,
) -> Release:
    """Check the signature, unpack aside, compare every file with the manifest, open the release, then show it; on any difference
    nothing is kept. `check` may raise CineMatchError for what else has to be so."""
    manifest, text, signed = _read(path)
    trusted.check(text.encode(), signed, what=f"{path}: release {manifest.release}")
    sweep(warehouse)
    staged = warehouse.staged(checked_id(manifest.release))
    if warehouse.sealed(manifest.release).folder.exists():
        raise StepError(f"release {manifest.release} is in {warehouse.folder} already; nothing was imported")
    if staged.folder.exists():
        raise StepError(
            f"release {manifest.release} is being built in {warehouse.folder}; nothing was imported. Remove {staged.folder} where "
            f"nothing works on it any more"
        )
    with claimed(staged):
        _check_room(warehouse, manifest, path)
        try:
            with zipfile.ZipFile(path) as archive:
                for name, file in manifest.files.items():
                    _extract(archive, name, file["bytes"], staged.folder, path)
        except _ODD as error:
            raise ReleaseError(f"{path}: cannot be unpacked ({error}); nothing was imported. Export the release again") from None
        problems = damage(staged, manifest)
        if problems:
            name, what = next(iter(problems.items()))
            raise ReleaseError(f"{path}: {name} is {what}; nothing was imported. Export the release again")
        servable.check(staged, manifest)
        check(staged, manifest)
        return seal(warehouse, staged, manifest, signed=signed)


def _check_room(warehouse: Warehouse, manifest: Manifest, path: Path) -> None:
    needed, free = sum(file["bytes"] for file in manifest.files.values()), shutil.disk_usage(warehouse.folder).free
    if needed > free:
        raise ResourceError(
            f"{path}: unpacked it has {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free in {warehouse.folder}; nothing "
            f"was imported"
        )


def _extract(archive: zipfile.ZipFile, name: str, n_bytes: int, folder: Path, path: Path) -> None:
    """One member, and of it no more than the manifest says."""
    if not _MEMBER.fullmatch(name) or not set(name.split("/")).isdisjoint(("", ".", "..")):
        raise ReleaseError(f"{path}: the member {name[:100]!r} would leave the release's folder, or is no file; nothing was imported")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(name) as source, target.open("wb") as copy:
            while n_bytes >= 0 and (block := source.read(min(n_bytes + 1, 1 << 20))):
                copy.write(block)
                n_bytes -= len(block)
    except _ODD as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise ResourceError(f"{path}: the disk of {folder} is full; nothing was imported") from None
        raise ReleaseError(f"{path}: {name} cannot be unpacked ({error}); nothing was imported") from None
    if n_bytes < 0:
        raise ReleaseError(f"{path}: {name} is changed: it has more bytes than its manifest says; nothing was imported")
