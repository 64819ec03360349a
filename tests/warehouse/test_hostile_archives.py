"""Archives that were made or damaged by somebody: none writes more than it says, none is shown that no server could open."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cli import main
from schemas.errors import CineMatchError, ReleaseError, ResourceError
from schemas.manifest import Manifest
from tests.conftest import Built
from tests.warehouse.test_archive import assert_nothing_kept, rewritten
from warehouse import archive
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import damage, read_manifest, sealed_ids
from warehouse.sealing import seal


def changed(path: Path, target: Path, change: Callable[[dict], dict | None], **files: bytes) -> Path:
    """The archive with other files and a manifest to suit them: whoever can write it can make every digest right."""

    def rewrite(members: dict[str, bytes]) -> dict[str, bytes]:
        members |= files
        manifest = json.loads(members["manifest.json"])
        manifest.pop("sha256")
        manifest = change(manifest) or manifest
        for name, content in files.items():
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return members | {"manifest.json": json.dumps(manifest).encode()}

    return rewritten(path, target, rewrite)


FLIPS = int(os.environ.get("FLIPS", "400")) // 2  # bits of the manifest, and as many of the other files
HOSTILE = {
    "a garbage time": lambda manifest: manifest | {"created_at": "the day before yesterday"},
    "a time without a zone": lambda manifest: manifest | {"as_of": "2026-01-04T02:00:00"},
    "foreign ids": lambda manifest: manifest | {"ids": {"user_id": "uuid", "item_id": "uuid"}},
    "ids of the other kind": lambda manifest: manifest | {"ids": {"user_id": "int64", "item_id": "int64"}},
    "settings without n": lambda manifest: manifest | {"settings": {k: v for k, v in manifest["settings"].items() if k != "n"}},
    "a negative n": lambda manifest: manifest | {"settings": manifest["settings"] | {"n": -1}},
    "no counts": lambda manifest: manifest | {"counts": {}},
    "models without names": lambda manifest: manifest | {"models": [{}]},
    "a verdict without a reason": lambda manifest: manifest | {"verdict": {"decision": "hold back"}},
    "a first online number that is none": lambda manifest: manifest | {"input": manifest["input"] | {"online_from": "9"}},
    "an overlay's number that is none": lambda manifest: manifest | {"input": manifest["input"] | {"overlay_seq": "9"}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_release_that_would_stop_a_server_is_not_imported(change: Callable, exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError):
        archive.import_(empty, changed(exported, tmp_path / "hostile.zip", change))
    assert_nothing_kept(empty)


@pytest.mark.parametrize("name", ["cinematch.db", "model/items/item_ids.npy", "model/items/parameters.json"])
def test_a_release_whose_files_cannot_be_opened_is_not_imported(name: str, exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    path = changed(exported, tmp_path / "hostile.zip", lambda manifest: None, **{name: b"not what it should be"})
    with pytest.raises(ReleaseError):
        archive.import_(empty, path)
    assert_nothing_kept(empty)


def test_what_stops_a_server_is_not_promoted_either(copy_warehouse, purchase_release: Built) -> None:
    built: Built = copy_warehouse(purchase_release)
    staged = built.warehouse.staged("20990101T000000Z")
    shutil.copytree(built.release.folder, staged.folder)
    for path in [staged.folder, *staged.folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    values = json.loads(staged.manifest.read_text())
    staged.manifest.unlink()
    values.pop("sha256")
    seal(
        built.warehouse,
        staged,
        Manifest.from_json(json.dumps(values | {"release": staged.id, "ids": {"user_id": "int64", "item_id": "int64"}}), name="x"),
    )
    with pytest.raises(ReleaseError, match="user_id is text, where manifest.json says int64"):
        promote(built.warehouse, staged.id, reason="test")
    assert built.warehouse.current.read_text().strip() == built.release_id


def test_a_bomb_is_stopped_at_what_the_manifest_says(
    exported: Path, empty: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(
        archive, "damage", lambda release, manifest: written.append(sum(p.stat().st_size for p in release.folder.rglob("*"))) or {}
    )
    path = rewritten(exported, tmp_path / "bomb.zip", lambda members: members | {"metadata.json": bytes(40 << 20)})
    with pytest.raises(ReleaseError, match="metadata.json is changed: it has more bytes than its manifest says"):
        archive.import_(empty, path)
    assert not written
    assert_nothing_kept(empty)


def test_a_release_that_is_larger_than_the_disk_is_not_begun(exported: Path, empty: Warehouse, tmp_path: Path) -> None:
    def claim(manifest: dict) -> None:
        manifest["files"]["cinematch.db"]["bytes"] = 1 << 60

    with pytest.raises(ResourceError, match="MiB are free"):
        archive.import_(empty, changed(exported, tmp_path / "large.zip", claim))
    assert_nothing_kept(empty)


NAMES = ["a\0b", ".", "tables/", "x" * 300, "tables/" + "x" * 300, "", "a//b", "./x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_member_of_an_odd_name_is_a_sentence(name: str, exported: Path, empty: Warehouse, tmp_path: Path, capsys) -> None:
    def add(manifest: dict) -> None:
        manifest["files"] = {name: {"bytes": 1, "sha256": "0"}} | manifest["files"]

    path = changed(exported, tmp_path / "odd.zip", add)
    assert main(["releases", "import", str(path), "--warehouse", str(empty.folder)]) == 5
    assert "nothing was imported" in capsys.readouterr().err
    assert_nothing_kept(empty)


def patched(path: Path, target: Path, name: str, *, flag: int = 0, method: int | None = None, content: bytes | None = None) -> Path:
    """The archive with a member's header changed, as an encrypted or strangely packed one has it, or its packed bytes."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        info = file.getinfo(name)
    at = info.header_offset
    for head, flags, methods in (
        (at, at + 6, at + 8),
        (found := data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()) + 1), found + 8, found + 10),
    ):
        assert data[head : head + 2] == b"PK"
        data[flags] |= flag
        if method is not None:
            data[methods : methods + 2] = method.to_bytes(2, "little")
    if content is not None:
        start = at + 30 + len(name)
        data[start : start + len(content)] = content
    target.write_bytes(data)
    return target


ODD = {
    "encrypted": lambda path, target: patched(path, target, "metadata.json", flag=1),
    "an encrypted manifest": lambda path, target: patched(path, target, "manifest.json", flag=1),
    "packed in an unknown way": lambda path, target: patched(path, target, "metadata.json", method=77),
    "a manifest packed in an unknown way": lambda path, target: patched(path, target, "manifest.json", method=77),
    "damaged deflate": lambda path, target: patched(path, target, "metadata.json", content=b"\xff" * 40),
    "200,000 brackets": lambda path, target: rewritten(path, target, lambda members: members | {"manifest.json": b"[" * 200_000}),
    "a manifest that is a bomb": lambda path, target: rewritten(
        path, target, lambda members: members | {"manifest.json": b" " * (65 << 20)}
    ),
    "a folder": lambda path, target: target.mkdir() or target,
    "cut short": lambda path, target: target.write_bytes(path.read_bytes()[:-1000]) and target,
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_an_archive_that_cannot_be_unpacked_is_a_sentence(make: Callable, exported: Path, empty: Warehouse, tmp_path: Path, capsys) -> None:
    path = make(exported, tmp_path / "odd.zip")
    assert main(["releases", "import", str(path), "--warehouse", str(empty.folder)]) == 5
    assert "Traceback" not in capsys.readouterr().err
    assert_nothing_kept(empty)


def test_an_import_that_was_killed_is_swept_away_by_the_next(exported: Path, empty: Warehouse, purchase_release: Built) -> None:
    staged = empty.staged(purchase_release.release_id)
    staged.folder.mkdir(parents=True)
    (staged.folder / "cinematch.db").write_bytes(b"half")
    staged.owner.touch()  # as it stands when the process that held it is gone
    (empty.staging / "some folder.owner").mkdir()
    assert archive.import_(empty, exported).id in sealed_ids(empty)
    assert not staged.owner.exists() and not staged.folder.exists()


def test_every_bit_of_the_manifest_counts(copy_warehouse, purchase_release: Built) -> None:
    release = copy_warehouse(purchase_release).release
    release.folder.chmod(0o755)
    release.manifest.chmod(0o644)
    whole, draw = release.manifest.read_bytes(), random.Random(5)
    for _ in range(FLIPS):
        content, at = bytearray(whole), draw.randrange(len(whole))
        content[at] ^= 1 << draw.randrange(8)
        release.manifest.write_bytes(content)
        with pytest.raises(CineMatchError):
            read_manifest(release)
    release.manifest.write_bytes(whole)
    assert damage(release, read_manifest(release)) == {}


def test_every_bit_of_the_other_files_counts(copy_warehouse, purchase_release: Built) -> None:
    built: Built = copy_warehouse(purchase_release)
    manifest, draw = built.manifest, random.Random(6)
    names = sorted(manifest.files)
    for _ in range(FLIPS):
        path = built.release.folder / draw.choice(names)
        path.chmod(0o644)
        at, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
        with path.open("r+b") as file:
            byte = _flip(file, at, bit)
            assert damage(built.release, manifest) == {path.relative_to(built.release.folder).as_posix(): "changed"}
            assert _flip(file, at, bit) != byte


def _flip(file, at: int, bit: int) -> int:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ bit]))
    file.flush()
    return byte


def test_a_manifest_of_before_has_no_digest_and_is_still_one(copy_warehouse, purchase_release: Built, capsys) -> None:
    built: Built = copy_warehouse(purchase_release)
    values = json.loads(built.release.manifest.read_text())
    values.pop("sha256")
    built.release.folder.chmod(0o755)
    built.release.manifest.chmod(0o644)
    built.release.manifest.write_text(json.dumps(values, indent=1, sort_keys=True))
    assert read_manifest(built.release) == purchase_release.manifest
    main(["releases", "verify", built.release_id, "--warehouse", str(built.warehouse.folder)])
    assert "has no digest" in capsys.readouterr().out
