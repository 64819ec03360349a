"""recommend, killed before its end, goes on from the parts that it had finished, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.ingest import step as ingest_step
from jobs.run import run_step
from tests.conftest import small_settings, write_tiny_ratings
from tests.jobs.conftest import STAGED_ID as ID, TINY
from warehouse.layout import Warehouse

N_PARTS = 40
PATIENCE_S = 120


@pytest.fixture(scope="module")
def many_parts(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A trained release in staging, cut into many small parts."""
    folder = tmp_path_factory.mktemp("parts")
    write_tiny_ratings(folder / "ratings.csv", n_users=60)
    n_rows = len((folder / "ratings.csv").read_text().splitlines())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_step, "ROWS_PER_PART", n_rows // N_PARTS)
        for step in ("ingest", "train"):
            run_step(step, Warehouse(folder), ID, settings(Warehouse(folder)))
    return Warehouse(folder)


def settings(warehouse: Warehouse, **other: object):
    return small_settings(warehouse.folder, path=str(warehouse.folder / "ratings.csv"), **TINY, **other)


def recommended(warehouse: Warehouse, **other: object) -> dict:
    return run_step("recommend", warehouse, ID, settings(warehouse, **other))


def digests(warehouse: Warehouse) -> dict[str, str]:
    work = warehouse.staged(ID).work
    paths = sorted([*(work / "recommendations").iterdir(), *(work / "explanations").iterdir(), *(work / "ready_lists").iterdir()])
    return {path.relative_to(work).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def killed_when(warehouse: Warehouse, n_done: int) -> int:
    """Kill the command's process group once so many parts are recorded; how many were when the last of its processes was gone: Spark's
    Python has a group of its own, and ends when it misses its JVM."""
    finished = warehouse.staged(ID).work / "recommended"
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "recommend",
        "--release",
        ID,
        "--warehouse",
        str(warehouse.folder),
        "--spark-master",
        "local[1]",
    ]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while len(list(finished.glob("part-*.json"))) < n_done:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.002)
    tree = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(tree, timeout=30)[1]
    return len(list(finished.glob("part-*.json")))


def test_killed_it_goes_on_from_the_finished_parts(many_parts: Warehouse, tmp_path: Path) -> None:
    straight, killed = (Warehouse(shutil.copytree(many_parts.folder, tmp_path / name)) for name in ("straight", "killed"))
    whole = recommended(straight)
    assert whole["n_parts_kept"] == 0
    n_done = killed_when(killed, 28)
    after = recommended(killed)
    assert 28 <= after["n_parts_kept"] == n_done < len(list((killed.staged(ID).work / "recommendations").iterdir()))
    counts = ("n_users", "n_recommendations", "n_explanations")
    assert [after[name] for name in counts] == [whole[name] for name in counts]
    assert digests(killed) == digests(straight)


def test_other_settings_or_other_models_make_every_part_again(many_parts: Warehouse, tmp_path: Path) -> None:
    warehouse = Warehouse(shutil.copytree(many_parts.folder, tmp_path / "warehouse"))
    recommended(warehouse)
    before = digests(warehouse)
    assert recommended(warehouse, n=3)["n_parts_kept"] == 0
    assert digests(warehouse).keys() == before.keys() and digests(warehouse) != before
    run_step("train", warehouse, ID, settings(warehouse))
    assert recommended(warehouse, n=3)["n_parts_kept"] == 0
