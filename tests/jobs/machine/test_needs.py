"""Too little memory or disk is said before a step starts; a disk that fills up ends in one sentence and leaves no staging."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.machine import needs
from jobs.machine.needs import Counts, heap_bytes, MIB, model_need, step_need
from jobs.run import run, run_step
from jobs.staging.record import STEPS
from schemas.errors import ResourceError, StepError
from schemas.models import MODELS
from schemas.settings import Settings
from tests.conftest import small_settings, write_tiny_ratings
from tests.jobs.conftest import STAGED_ID as ID, TINY
from warehouse.layout import Warehouse

LARGE = Counts(32_000_204, 200_948, 87_585)


def settings(warehouse: Warehouse, **other: object) -> Settings:
    return small_settings(warehouse.folder, path=str(warehouse.folder / "ratings.csv"), **TINY | other)


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("ingest", "promote")])
def test_too_little_memory_is_said_before_anything_is_written(ready: Warehouse, step: str) -> None:
    before = sorted(path for path in ready.staged(ID).work.rglob("part-*"))
    expected = rf"^{step} needs about [\d,]+ MiB of memory; there are 64 MiB \(setting memory_mib\). Lower \w+"
    with pytest.raises(ResourceError, match=expected):
        run_step(step, ready, ID, settings(ready, memory_mib=64))
    assert sorted(path for path in ready.staged(ID).work.rglob("part-*")) == before


def test_a_model_that_does_not_fit_fails_alone(copied: Warehouse) -> None:
    counts = Counts(120, 12, 20)
    enough = int(step_need("train", counts, settings(copied)).memory / MIB) + 1
    given = settings(copied, memory_mib=enough, models="popular,ials,ease,hybrid", serve="ials")
    run_step("train", copied, ID, given)
    rows = {row["model"]: row for row in pq.read_table(copied.staged(ID).table("models")).to_pylist()}
    assert rows["hybrid"]["status"] == "failed" and "weights_keep" in rows["hybrid"]["message"]
    assert rows["ials"]["status"] == rows["popular"]["status"] == "trained"


def test_input_that_the_disk_cannot_take_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A file of 15 TB, after its first lines a hole."""
    path = write_tiny_ratings(tmp_path / "ratings.csv")
    with path.open("a") as file:
        file.truncate(15 * 2**40)
    with pytest.raises(ResourceError, match=r"^ingest needs about [\d,]+ MiB of disk in .*; [\d,]+ MiB are free"):
        run(small_settings(tmp_path / "warehouse", source="table", path=str(path), rating_scale="1:5", memory_mib=10**9))
    assert not list(Warehouse(tmp_path / "warehouse").staging.iterdir())


def test_a_disk_that_fills_up_is_one_sentence_and_leaves_no_staging(tmp_path: Path) -> None:
    """No file may grow beyond some bytes: what is written next fails as on a full disk."""
    write_tiny_ratings(tmp_path / "ratings.csv", n_users=400)
    options = {"source": "table", "path": "ratings.csv", "warehouse": "warehouse"}
    command = [sys.executable, "-m", "jobs.cli", "run", *(word for name, value in options.items() for word in (f"--{name}", value))]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == StepError.exit_code, done.stderr
    assert "took no more" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not list(Warehouse(tmp_path / "warehouse").staging.iterdir())


def test_estimates_grow_with_every_count_and_know_every_step_and_model() -> None:
    small = Counts(*(count // 10 for count in LARGE))
    for step in STEPS[:-1]:
        assert step_need(step, small, Settings()).memory <= step_need(step, LARGE, Settings()).memory
        assert step_need(step, small, Settings()).disk <= step_need(step, LARGE, Settings()).disk
    for model in MODELS.values():
        assert model_need(model, small, Settings()).memory < model_need(model, LARGE, Settings()).memory


@pytest.mark.parametrize(("text", "expected"), [("2g", 2 * 2**30), ("512m", 512 * MIB), ("4096", 4096 * MIB), ("1.5GB", 1.5 * 2**30)])
def test_sparks_notation_of_memory(text: str, expected: float) -> None:
    assert heap_bytes(text) == expected


@pytest.mark.parametrize(("master", "expected"), [("local", 1), ("local[3]", 3), ("local[2,4]", 2)])
def test_workers_of_a_local_master(master: str, expected: int) -> None:
    assert needs.workers_of(master) == expected
