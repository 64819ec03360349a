"""A release as one file, to be carried to another warehouse: a zip whose manifest can be read without unpacking."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from schemas.errors import ReleaseError, StepError, UsageError
from schemas.manifest import Manifest
from warehouse.layout import checked_id, Release, Warehouse
from warehouse.release import damage, read_manifest, remove, seal

SUFFIX = ".cinematch.zip"


def write(warehouse: Warehouse, release_id: str, path: Path) -> Path:
    """Export a sealed release; `path` is a file `*.zip` that is not there yet, or a folder to put it in. The manifest is the
    first member."""
    release = warehouse.sealed(release_id)
    manifest = read_manifest(release)
    problems = damage(release, manifest)
    if problems:
        name, what = next(iter(problems.items()))
        raise ReleaseError(
            f"release {release_id}: {name} is {what}; it was not exported. Roll back, or import a good copy"
        )
    path = _target(path, release_id)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name in ("manifest.json", *manifest.files):
                archive.write(release.folder / name, name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _target(path: Path, release_id: str) -> Path:
    """The file to write. Raises UsageError where that is not clear, and where there is one."""
    folder = path.parent if path.suffix == ".zip" and not path.is_dir() else path
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; make it first, or name a file that ends in .zip in one that is there")
    target = path / f"{release_id}{SUFFIX}" if path.is_dir() else path
    if target.exists():
        raise UsageError(f"{target}: is there already; remove it, or name another file")
    return target


def read(path: Path) -> Manifest:
    """The manifest of an exported file, without unpacking anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            return Manifest.from_json(archive.read("manifest.json").decode("utf-8"), name=path.name)
    except FileNotFoundError:
        raise ReleaseError(f"{path}: no such file") from None
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); expected a file made by `cinematch releases export`") from None
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ReleaseError(
            f"{path}: not an exported release ({error}); expected a file made by `cinematch releases export`"
        ) from None


def import_(warehouse: Warehouse, path: Path) -> Release:
    """Unpack aside, compare every file with the manifest, then show the release; on any difference nothing is kept."""
    manifest = read(path)
    staged = warehouse.staged(checked_id(manifest.release))
    if warehouse.sealed(manifest.release).folder.exists():
        raise StepError(f"release {manifest.release} is in {warehouse.folder} already; nothing was imported")
    if staged.folder.exists():
        raise StepError(f"release {manifest.release} is being built in {warehouse.folder}; nothing was imported")
    try:
        with zipfile.ZipFile(path) as archive:
            for name in manifest.files:
                _extract(archive, name, staged.folder, path)
        problems = damage(staged, manifest)
        if problems:
            name, what = next(iter(problems.items()))
            raise ReleaseError(f"{path}: {name} is {what}; nothing was imported. Export the release again")
        return seal(warehouse, staged, manifest)
    finally:
        if staged.folder.exists():
            remove(staged.folder)


def _extract(archive: zipfile.ZipFile, name: str, folder: Path, path: Path) -> None:
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ReleaseError(f"{path}: the member {name!r} would leave the release's folder; nothing was imported")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(name) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{path}: {name} cannot be unpacked ({error}); nothing was imported") from None
