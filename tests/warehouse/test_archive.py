"""A release as one file: its manifest readable at once, its content verified before it shows, nothing kept of a bad one."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from schemas.errors import CineMatchError, NotFound, ReleaseError, StepError, UsageError
from tests.conftest import Built
from warehouse import archive
from warehouse.layout import Warehouse
from warehouse.release import current_id, damage, read_manifest, sealed_ids


def rewritten(path: Path, target: Path, change) -> Path:
    """The archive with its members, name to content, changed."""
    with zipfile.ZipFile(path) as source:
        members = change({name: source.read(name) for name in source.namelist()})
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name, content in members.items():
            copy.writestr(name, content)
    return target


def assert_nothing_kept(warehouse: Warehouse) -> None:
    assert sealed_ids(warehouse) == [] and current_id(warehouse) is None
    assert not [path for path in warehouse.folder.rglob("*") if path.is_file() and path != warehouse.lock]


def test_the_manifest_is_the_first_member_and_readable_without_unpacking(exported: Path, purchase_release: Built) -> None:
    with zipfile.ZipFile(exported) as file:
        assert file.namelist()[0] == "manifest.json"
    assert archive.read(exported) == purchase_release.manifest
    assert exported.name == f"{purchase_release.release_id}.cinematch.zip"


def test_an_imported_release_is_the_exported_one_and_not_yet_promoted(exported: Path, empty: Warehouse, purchase_release: Built) -> None:
    release = archive.import_(empty, exported)
    assert read_manifest(release) == purchase_release.manifest and damage(release, purchase_release.manifest) == {}
    assert sealed_ids(empty) == [purchase_release.release_id] and current_id(empty) is None
    assert all(path.stat().st_mode & 0o222 == 0 for path in [release.folder, *release.folder.rglob("*")])
    assert not list(empty.staging.iterdir())


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.97])
def test_a_flipped_byte_is_refused_and_nothing_is_left(exported: Path, empty: Warehouse, tmp_path: Path, at: float) -> None:
    content = bytearray(exported.read_bytes())
    content[int(len(content) * at)] ^= 1
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    with pytest.raises(ReleaseError):
        archive.import_(empty, damaged)
    assert_nothing_kept(empty)


def test_content_that_is_not_what_the_manifest_says_is_refused(exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    other = rewritten(exported, tmp_path / "other.zip", lambda members: members | {"metadata.json": b"{}"})
    with pytest.raises(ReleaseError, match="metadata.json is changed; nothing was imported"):
        archive.import_(empty, other)
    assert_nothing_kept(empty)


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped-release-file", "tables/../../../../escaped"])
def test_a_member_that_would_leave_the_folder_is_refused(exported: Path, empty: Warehouse, tmp_path: Path, name: str) -> None:
    def escape(members: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(members["manifest.json"])
        del manifest["sha256"]  # whoever can write the archive can leave it out
        manifest["files"] = {name: {"bytes": 1, "sha256": "0"}} | manifest["files"]
        return members | {"manifest.json": json.dumps(manifest).encode(), name: b"x"}

    with pytest.raises(ReleaseError, match="would leave the release's folder"):
        archive.import_(empty, rewritten(exported, tmp_path / "escape.zip", escape))
    assert_nothing_kept(empty)
    assert not list(tmp_path.rglob("escaped*")) and not Path("/tmp/escaped-release-file").exists()


def test_a_release_id_that_is_a_path_is_refused(exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    def rename(members: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(members["manifest.json"])
        del manifest["sha256"]
        return members | {"manifest.json": json.dumps(manifest | {"release": "../x"}).encode()}

    with pytest.raises(CineMatchError, match="release id"):
        archive.import_(empty, rewritten(exported, tmp_path / "named.zip", rename))
    assert_nothing_kept(empty)


def test_a_missing_member_is_refused(exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    less = rewritten(exported, tmp_path / "less.zip", lambda members: {k: v for k, v in members.items() if k != "cinematch.db"})
    with pytest.raises(ReleaseError, match="cinematch.db cannot be unpacked"):
        archive.import_(empty, less)
    assert_nothing_kept(empty)


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_what_is_no_exported_release_is_refused(empty: Warehouse, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.zip"
    if content is None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("hello", "world")
    else:
        path.write_bytes(content)
    with pytest.raises(ReleaseError, match="not an exported release"):
        archive.import_(empty, path)
    with pytest.raises(ReleaseError, match="no such file"):
        archive.import_(empty, tmp_path / "absent.zip")
    assert_nothing_kept(empty)


def test_a_release_that_is_there_is_not_imported_over(exported: Path, copy_warehouse, purchase_release: Built) -> None:
    copied = copy_warehouse(purchase_release)
    with pytest.raises(StepError, match="already; nothing was imported"):
        archive.import_(copied.warehouse, exported)
    assert damage(copied.release, copied.manifest) == {}


def test_a_release_that_is_being_built_is_not_touched(exported: Path, empty: Warehouse, purchase_release: Built) -> None:
    staged = empty.staged(purchase_release.release_id).folder
    staged.mkdir(parents=True)
    with pytest.raises(StepError, match="is being built"):
        archive.import_(empty, exported)
    assert staged.exists()


def test_exporting_what_is_damaged_or_absent_leaves_no_file(copy_warehouse, purchase_release: Built, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        archive.write(purchase_release.warehouse, "20000101T000000Z", tmp_path)
    copied = copy_warehouse(purchase_release)
    (copied.release.folder / "tables").chmod(0o755)
    shutil.move(copied.release.table("popular"), tmp_path / "popular.parquet")
    with pytest.raises(CineMatchError, match="popular.parquet is missing; it was not exported"):
        archive.write(copied.warehouse, copied.release_id, tmp_path)
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_where_to_export_to_is_clear_or_refused(purchase_release: Built, tmp_path: Path) -> None:
    warehouse, name = purchase_release.warehouse, purchase_release.release_id
    for path in (tmp_path / "absent", tmp_path / "absent" / "file.zip"):
        with pytest.raises(UsageError, match="absent: no such folder"):
            archive.write(warehouse, name, path)
    assert archive.write(warehouse, name, tmp_path / "mine.zip") == tmp_path / "mine.zip"
    before = (tmp_path / "mine.zip").read_bytes()
    with pytest.raises(UsageError, match="mine.zip: is there already"):
        archive.write(warehouse, name, tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["mine.zip"]


def test_what_is_no_file_is_not_imported(empty: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a" / "b.zip", tmp_path):
        with pytest.raises(ReleaseError, match="cannot be read"):
            archive.import_(empty, path)
