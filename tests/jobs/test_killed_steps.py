"""Sealing and promoting, killed before each single operation on a file: what is seen is whole, and trying again succeeds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.run import run_step
from schemas.errors import StepError
from tests.conftest import small_settings
from tests.jobs.conftest import run_steps, STAGED_ID, TINY
from warehouse.claims import claimed, sweep
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id, damage, read_manifest, sealed_ids
from warehouse.sqlite import failed_checks, open_immutable

OLDEST, OLD, NEW = "20260101T000000Z", STAGED_ID, "20260111T020000Z"
ROOT = Path(__file__).resolve().parents[2]


def staged_again(warehouse: Warehouse, listed: Warehouse, release_id: str) -> None:
    """Put a release with its lists into staging under another id."""
    for source, target in ((listed.staged(STAGED_ID).folder, "folder"), (listed.staged(STAGED_ID).work, "work")):
        shutil.copytree(source, getattr(warehouse.staged(release_id), target))


@pytest.fixture(scope="module")
def built(listed: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Two sealed releases, the newer one current, and a third ready to be sealed; each judged against the one before."""
    found = Warehouse(tmp_path_factory.mktemp("built") / "warehouse")
    staged_again(found, listed, OLDEST)
    run_steps(found, "seal", "promote", release_id=OLDEST)
    staged_again(found, listed, OLD)
    run_steps(found, "evaluate", "recommend", "seal", "promote", release_id=OLD)
    staged_again(found, listed, NEW)
    run_steps(found, "evaluate", "recommend", release_id=NEW)
    assert current_id(found) == OLD
    return found


@pytest.fixture
def warehouse(built: Warehouse, tmp_path: Path) -> Warehouse:
    """Copy the warehouse that all tests share, for one test to change."""
    return Warehouse(shutil.copytree(built.folder, tmp_path / "warehouse"))


def kill_everywhere(step: str, warehouse: Warehouse, copies: Path, *, keep: int, release_id: str = NEW) -> list[Warehouse]:
    """The warehouse as each kill left it."""
    copies.mkdir()
    command = [sys.executable, "-m", "tests.jobs.kill_points", step, release_id, str(keep), str(warehouse.folder), str(copies)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    return [Warehouse(folder) for folder in sorted(copies.iterdir())][:-1]


def assert_nothing_half_done(warehouse: Warehouse) -> None:
    """Every release that is listed is whole and passes its checks, and the current one is among them."""
    listed = sealed_ids(warehouse)
    assert current_id(warehouse) in listed
    for name in listed:
        release = warehouse.sealed(name)
        manifest = read_manifest(release)
        assert damage(release, manifest) == {}
        connection = open_immutable(release.database)
        assert failed_checks(connection, manifest.rating_scale) == {}
        connection.close()
    in_sight = {path.name for path in warehouse.releases.iterdir() if not path.name.startswith(".")}
    assert in_sight == set(listed)


def finish(warehouse: Warehouse, *steps: str, keep: int) -> None:
    for step in steps:
        run_step(step, warehouse, NEW, small_settings(warehouse.folder, **TINY | {"keep": keep}))


def test_sealing_killed_before_every_operation(warehouse: Warehouse, tmp_path: Path) -> None:
    killed = kill_everywhere("seal", warehouse, tmp_path / "killed", keep=5)
    assert len(killed) > 30
    assert {NEW in sealed_ids(left) for left in killed} == {True, False}  # on both sides of the rename
    for left in killed:
        assert_nothing_half_done(left)
        assert current_id(left) == OLD
        finish(left, "seal", "promote", keep=5)
        assert_nothing_half_done(left)
        assert current_id(left) == NEW and not list(left.staging.iterdir())
        assert read_manifest(left.sealed(NEW)).files.keys() == read_manifest(left.sealed(OLD)).files.keys()


def test_promoting_and_pruning_killed_before_every_operation(warehouse: Warehouse, tmp_path: Path) -> None:
    finish(warehouse, "seal", keep=5)
    killed = kill_everywhere("promote", warehouse, tmp_path / "killed", keep=1)
    assert len(killed) > 30
    assert {current_id(left) for left in killed} == {OLD, NEW}
    for left in killed:
        assert_nothing_half_done(left)
        finish(left, "promote", keep=1)
        assert_nothing_half_done(left)
        assert current_id(left) == NEW and sealed_ids(left) == [OLD, NEW] and not list(left.staging.iterdir())


def test_the_first_promotion_killed_leaves_no_current_or_a_whole_one(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.current.unlink()
    warehouse.promotions.unlink()
    killed = kill_everywhere("promote", warehouse, tmp_path / "killed", keep=5, release_id=OLDEST)
    assert {current_id(left) for left in killed} == {None, OLDEST}
    for left in killed:
        promote(left, OLD, reason="test")
        assert_nothing_half_done(left)


def test_one_release_is_built_by_one_run_and_a_live_run_is_left_alone(tmp_path: Path) -> None:
    found = Warehouse(tmp_path)
    staged = found.staged(NEW)
    with claimed(staged):
        staged.work.mkdir()
        with pytest.raises(StepError, match=f"{NEW} is being built by another run"), claimed(staged):
            pass
        sweep(found)
        assert staged.folder.exists() and staged.work.exists()
    assert not list(found.staging.iterdir())


def test_what_steps_build_one_by_one_is_not_swept_away(warehouse: Warehouse) -> None:
    sweep(warehouse)
    assert warehouse.staged(NEW).step("recommend").exists()
