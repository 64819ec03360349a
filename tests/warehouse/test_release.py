"""The life of a release: sealed for good, promoted whole or not at all, rolled back, pruned."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, UTC
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.ingest.overlay_archive import compact
from schemas.errors import NotFound, ReleaseError, StepError, UsageError
from tests.conftest import Built
from tests.warehouse.conftest import add_release
from warehouse import catalog, servable
from warehouse.history import promotions, rolled_back
from warehouse.layout import checked_id, Release, Warehouse
from warehouse.promotion import promote, rollback
from warehouse.pruning import drop, prune, to_prune
from warehouse.release import current, current_id, damage, named, new_id, read_manifest, sealed_ids
from warehouse.sealing import seal
from warehouse.sqlite import open_immutable

NOBODY = 65534


def flip(path: Path, at: float = 0.5) -> None:
    """Change one byte of a sealed file, that share of the way through."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[min(int(len(content) * at), len(content) - 1)] ^= 1
    path.write_bytes(content)


def test_ids_sort_by_time_and_within_a_second_by_order(tmp_path: Path) -> None:
    warehouse, now = Warehouse(tmp_path), datetime(2026, 1, 4, 2, tzinfo=UTC)
    ids = []
    for seconds in (0, 0, 0, 1, 60, 86_400, 86_400 * 400):
        ids.append(new_id(warehouse, now + timedelta(seconds=seconds)))
        warehouse.sealed(ids[-1]).folder.mkdir(parents=True)
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert ids[:3] == ["20260104T020000Z", "20260104T020000Za", "20260104T020000Zb"]


@pytest.mark.parametrize("name", ["", ".", "..", ".staging", "../x", "a/b", "a" * 65, "a b", "é", "-x", "x\n"])
def test_what_cannot_name_a_release_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="release id"):
        checked_id(name)


def test_a_release_of_before_checks_were_kept_can_be_served_and_one_without_a_table_of_lists_cannot(copied: Built) -> None:
    copied.release.folder.chmod(0o755)
    copied.release.database.chmod(0o644)
    for table in ("checks", "popular"):
        with closing(sqlite3.connect(copied.release.database)) as connection:
            connection.execute(f"drop table {table}")
        if table == "checks":
            servable.check(copied.release, copied.manifest)
    with pytest.raises(ReleaseError, match="no such table: popular"):
        servable.check(copied.release, copied.manifest)


@pytest.fixture
def owned(copied: Built) -> Iterator[Built]:
    """The copy where an ordinary user can reach it, belonging to that user."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(copied.warehouse.folder, Path(folder) / "warehouse")
        if os.getuid() == 0:
            for path in [Path(folder), *Path(folder).rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        yield Built(Warehouse(Path(folder) / "warehouse"), copied.release_id)


ATTEMPTS = {
    "write to a table": "open(release / 'tables/ratings.parquet', 'r+b')",
    "write to the manifest": "open(release / 'manifest.json', 'a')",
    "write to a model": "open(next((release / 'model').rglob('*.npy')), 'r+b')",
    "add a file": "open(release / 'new', 'w')",
    "remove a file": "os.unlink(release / 'tables/ratings.parquet')",
    "replace a file": "os.rename(release / 'metadata.json', release / 'manifest.json')",
    "write to the database": "sqlite3.connect(release / 'cinematch.db').execute('delete from ratings')",
    "make a table": "sqlite3.connect(release / 'cinematch.db').execute('create table x (y)')",
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_not_even_its_owner_can_write_to_a_sealed_release(owned: Built, attempt: str) -> None:
    script = f"""
import os, sqlite3, sys
from pathlib import Path
release = Path(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
assert (release / 'tables/ratings.parquet').read_bytes() and os.stat(release).st_uid == os.getuid()
try:
    {attempt}
except (PermissionError, sqlite3.OperationalError) as error:
    print('refused:', error)
"""
    done = subprocess.run([sys.executable, "-c", script, str(owned.release.folder)], capture_output=True, text=True)
    assert done.stdout.startswith("refused:"), done.stdout + done.stderr
    assert damage(owned.release, owned.manifest) == {}


def test_every_file_of_a_sealed_release_is_read_only(purchase_release: Built) -> None:
    folder = purchase_release.release.folder
    writable = [path for path in [folder, *folder.rglob("*")] if path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)]
    assert writable == []


@pytest.mark.parametrize("statement", ["delete from ratings", "create table x (y)", "insert into popular select * from popular"])
def test_an_immutable_connection_refuses_to_write(purchase_release: Built, statement: str) -> None:
    connection = open_immutable(purchase_release.release.database)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute(statement)
    connection.close()


def test_a_sealed_release_is_never_sealed_again(copied: Built) -> None:
    staged = copied.warehouse.staged(copied.release_id)
    staged.folder.mkdir(parents=True)
    with pytest.raises(StepError, match="already sealed"):
        seal(copied.warehouse, staged, copied.manifest)
    assert damage(copied.release, copied.manifest) == {}


def test_promoting_moves_the_pointer_and_remembers_the_one_before(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    assert promote(copied.warehouse, second, reason="better") == copied.release_id
    assert current_id(copied.warehouse) == second
    assert promotions(copied.warehouse)[-1] | {"at": ""} == {
        "at": "",
        "release": second,
        "previous": copied.release_id,
        "by": "hand",
        "reason": "better",
        "undoes": None,
        "verdict": "promote",
        "served_model": copied.manifest.served_model,
    }
    assert promote(copied.warehouse, second, reason="again") == second
    assert len(promotions(copied.warehouse)) == 2


@pytest.mark.parametrize("name", ["cinematch.db", "tables/ratings.parquet", "model/ials/item_factors.npy", "metadata.json"])
def test_a_damaged_release_is_not_promoted_and_its_file_is_named(copied: Built, name: str) -> None:
    second = add_release(copied, "20990101T000000Z")
    flip(copied.warehouse.sealed(second).folder / name)
    with pytest.raises(ReleaseError, match=f"{second} is damaged.*{name} changed.*not promoted"):
        promote(copied.warehouse, second, reason="test")
    assert current_id(copied.warehouse) == copied.release_id
    assert len(promotions(copied.warehouse)) == 1


def test_damage_finds_a_changed_byte_in_any_file_a_missing_and_an_unexpected_one(copied: Built) -> None:
    folder, manifest = copied.release.folder, copied.manifest
    for name in manifest.files:
        for at in (0.0, 0.5, 1.0):
            flip(folder / name, at)
            assert damage(copied.release, manifest) == {name: "changed"}
            flip(folder / name, at)
    assert damage(copied.release, manifest) == {}
    (folder / "tables").chmod(0o755)
    (folder / "tables/ratings.parquet").rename(folder / "tables/more.parquet")
    assert damage(copied.release, manifest) == {"tables/ratings.parquet": "missing", "tables/more.parquet": "not in the manifest"}


def test_promoting_what_is_not_there_says_so(copied: Built) -> None:
    with pytest.raises(NotFound, match="cinematch releases list"):
        promote(copied.warehouse, "20000101T000000Z", reason="test")
    copied.warehouse.sealed("20010101T000000Z").folder.mkdir()
    with pytest.raises(ReleaseError, match="no manifest.json"):
        promote(copied.warehouse, "20010101T000000Z", reason="test")
    assert sealed_ids(copied.warehouse) == [copied.release_id]


def test_rolling_back_twice_walks_back_and_then_says_that_there_is_no_further(copied: Built) -> None:
    first = copied.release_id
    second, third = add_release(copied, "20990101T000000Z"), add_release(copied, "20990102T000000Z")
    for name in (second, third):
        promote(copied.warehouse, name, reason="newer")
    assert rollback(copied.warehouse) == current_id(copied.warehouse) == second
    assert rollback(copied.warehouse) == current_id(copied.warehouse) == first
    with pytest.raises(ReleaseError, match="no release to roll back to"):
        rollback(copied.warehouse)
    assert current_id(copied.warehouse) == first


def test_after_rolling_back_and_promoting_anew_one_rolls_back_to_what_was_there_then(copied: Built) -> None:
    second, third = add_release(copied, "20990101T000000Z"), add_release(copied, "20990102T000000Z")
    promote(copied.warehouse, second, reason="newer")
    assert rollback(copied.warehouse) == copied.release_id
    promote(copied.warehouse, third, reason="newest")
    assert rollback(copied.warehouse) == copied.release_id


def test_rolling_back_passes_over_what_was_removed(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    promote(copied.warehouse, second, reason="newer")
    assert drop(copied.warehouse, [copied.release_id]) == {copied.release_id: "named"}
    with pytest.raises(ReleaseError, match="no release to roll back to"):
        rollback(copied.warehouse)


@pytest.mark.parametrize("keep", [1, 2])
def test_after_five_bad_weeks_and_a_good_one_there_is_a_release_to_roll_back_to(copied: Built, keep: int) -> None:
    second = add_release(copied, "20990101T000000Z")
    promote(copied.warehouse, second, reason="good")
    bad = [add_release(copied, f"2099010{day}T000000Z") for day in range(2, 7)]
    good = add_release(copied, "20990107T000000Z")
    promote(copied.warehouse, good, reason="good again")
    gone = dict.fromkeys(bad[:3], "not promoted") | {copied.release_id: "promoted before the last 2"}
    assert to_prune(copied.warehouse, keep=keep) == gone and copied.release.folder.exists()
    assert prune(copied.warehouse, keep=keep) == gone
    assert sealed_ids(copied.warehouse) == [second, *bad[3:], good]
    assert rollback(copied.warehouse, reason="titles are cut short") == second
    assert rolled_back(copied.warehouse)[good]["reason"] == f"rolled back from {good}: titles are cut short"
    assert prune(copied.warehouse, keep=keep) == {bad[3]: "not promoted"}
    promote(copied.warehouse, good, reason="mended")
    assert rolled_back(copied.warehouse) == {}


def test_pruning_keeps_the_last_that_were_promoted(copied: Built) -> None:
    more = [add_release(copied, f"2099010{day}T000000Z") for day in range(1, 8)]
    for name in more[:3]:
        promote(copied.warehouse, name, reason="newer")
    assert prune(copied.warehouse, keep=3) == dict.fromkeys(more[3:5], "not promoted") | {copied.release_id: "promoted before the last 3"}
    assert prune(copied.warehouse, keep=3) == {}
    assert current(copied.warehouse)[1].release == more[2] and not list(copied.warehouse.staging.iterdir())


def test_without_a_record_of_promotions_the_newest_are_kept(copied: Built) -> None:
    more = [add_release(copied, f"2099010{day}T000000Z") for day in range(1, 5)]
    copied.warehouse.promotions.unlink()
    assert list(prune(copied.warehouse, keep=3)) == more[:1]
    assert sealed_ids(copied.warehouse) == [copied.release_id, *more[1:]]


def test_removing_a_release_by_name_spares_the_current_one(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    with pytest.raises(UsageError, match="is the current one.*Nothing was removed"):
        drop(copied.warehouse, [second, copied.release_id])
    with pytest.raises(NotFound, match="nothing was removed"):
        drop(copied.warehouse, [second, "20000101T000000Z"])
    assert sealed_ids(copied.warehouse) == [copied.release_id, second]


@pytest.mark.parametrize("name", ["{}.bak", "{} (copy)", "{}-copy", "é", "new\nline"])
def test_a_folder_of_any_name_stops_nothing(copied: Built, name: str) -> None:
    stray = copied.warehouse.releases / name.format(copied.release_id)
    shutil.copytree(copied.release.folder, stray)
    second = add_release(copied, "20990101T000000Z")
    folder = str(copied.warehouse.folder)
    catalog.rebuild(copied.warehouse)
    for command in (["releases", "list"], ["releases", "prune", "--keep", "5"], ["releases", "promote", second], ["forget", "nobody"]):
        assert main([*command, "--warehouse", folder]) == 0, command
    compact(copied.warehouse)
    assert current_id(copied.warehouse) == second and stray.is_dir()
    assert second in sealed_ids(copied.warehouse) and (stray.name in sealed_ids(copied.warehouse)) == stray.name.endswith("-copy")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../etc\n", b"\0"])
def test_a_damaged_pointer_is_said_and_written_anew_by_a_promotion(copied: Built, content: bytes) -> None:
    copied.warehouse.current.write_bytes(content)
    with pytest.raises(ReleaseError, match="expected the id of a release"):
        current_id(copied.warehouse)
    assert promote(copied.warehouse, copied.release_id, reason="mended") is None
    assert current_id(copied.warehouse) == copied.release_id


def test_before_the_first_promotion_there_is_no_current(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "nowhere")
    assert current_id(warehouse) is None and sealed_ids(warehouse) == [] and promotions(warehouse) == []
    with pytest.raises(NotFound, match="no release is promoted yet; run"):
        current(warehouse)


def test_a_promotion_that_was_cut_short_is_left_out(copied: Built) -> None:
    with copied.warehouse.promotions.open("a") as file:
        file.write('{"at": "2099-01-01", "rel')
    assert [entry["release"] for entry in promotions(copied.warehouse)] == [copied.release_id]
    second = add_release(copied, "20990101T000000Z")
    promote(copied.warehouse, second, reason="newer")
    assert [entry["release"] for entry in promotions(copied.warehouse)] == [copied.release_id, second]


def test_a_manifest_of_another_release_is_refused(copied: Built) -> None:
    other = copied.warehouse.releases / "20990101T000000Z"
    shutil.copytree(copied.release.folder, other)
    with pytest.raises(ReleaseError, match="20990101T000000Z"):
        read_manifest(Release(other))


def test_current_and_latest_stand_for_releases_and_name_none(copied: Built, tmp_path: Path) -> None:
    second = add_release(copied, "20990101T000000Z")
    found = [named(copied.warehouse, name) for name in ("current", "latest", second, "20000101T000000Z")]
    assert found == [copied.release_id, second, second, "20000101T000000Z"]
    for name, missing in (("current", "no release is promoted"), ("latest", "no release is sealed")):
        with pytest.raises(NotFound, match=missing):
            named(Warehouse(tmp_path / "nowhere"), name)
        with pytest.raises(UsageError, match="another name"):
            copied.warehouse.staged(name)


def test_a_warehouse_in_the_folder_that_was_the_default_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "warehouse" / "data" / "releases").mkdir(parents=True)
    with pytest.raises(NotFound, match=r"There are releases in .*warehouse/data, the default until now"):
        current(Warehouse(tmp_path / "data"))
    with pytest.raises(NotFound, match=r"`cinematch run --source sample`$"):
        current(Warehouse(tmp_path / "other"))
