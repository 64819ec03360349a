"""Models fitted one by one, several at once, and joined: the same release as by the one command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.run import run_step
from schemas.errors import SettingError, StepError
from schemas.settings import FIELDS
from tests.conftest import SMALL, small_settings
from tests.jobs.conftest import run_steps, STAGED_ID as ID, TINY
from tests.jobs.test_steps import content
from warehouse import parquet
from warehouse.layout import Warehouse

MODELS = "popular,content,ials,als,ease,hybrid"
MEASURED = ("train_s", "peak_mib", "size_mib")


@pytest.fixture(scope="module")
def whole(trained: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A release in staging, all its models trained by one command; `content` finds no word and is skipped."""
    warehouse = Warehouse(shutil.copytree(trained.folder, tmp_path_factory.mktemp("whole") / "warehouse"))
    run_step("train", warehouse, ID, settings(warehouse))
    return warehouse


@pytest.fixture
def ingested(trained: Warehouse, tmp_path: Path) -> Warehouse:
    """A release in staging, ingested and not yet trained."""
    warehouse = Warehouse(shutil.copytree(trained.folder, tmp_path / "warehouse"))
    run_steps(warehouse, "ingest")
    return warehouse


def settings(warehouse: Warehouse, **changed: object):
    return small_settings(warehouse.folder, **TINY | {"models": MODELS, "path": str(warehouse.folder / "ratings.csv")} | changed)


def rows(warehouse: Warehouse) -> list[dict]:
    table = parquet.read(warehouse.staged(ID).table("models"))
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in table.to_pylist()]


def made(warehouse: Warehouse) -> dict[str, str]:
    """Digests of what training made and a release keeps, but of the table that has seconds in it."""
    staged = warehouse.staged(ID).folder
    return {
        name: digest
        for name, digest in content(warehouse.staged(ID)).items()
        if name.startswith(f"{staged.name}/") and "models.parquet" not in name
    }


def command(warehouse: Warehouse, model: str, **more: object) -> subprocess.Popen:
    """`cinematch train --model`, started."""
    taken = [name for name in SMALL | TINY if "train" in FIELDS[name].metadata["commands"] and name not in ("models", "serve")]
    flags = [f"--{name.replace('_', '-')}={(SMALL | TINY)[name]}" for name in taken]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "train", "--release", ID, "--warehouse", warehouse.folder, "--model", model, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_models_fitted_at_once_in_processes_of_their_own_are_the_same_release(ingested: Warehouse, whole: Warehouse) -> None:
    running = {model: command(ingested, model) for model in ("als", "content", "ials")}
    ended = {model: (*process.communicate(timeout=120), process.returncode) for model, process in running.items()}
    assert [ended[model][2] for model in ("als", "content", "ials")] == [0, 0, 0], ended
    assert json.loads(ended["ials"][0].splitlines()[-1])["status"] == "trained"
    assert json.loads(ended["content"][0].splitlines()[-1])["status"] == "skipped"
    stamp = (ingested.staged(ID).model("ials") / "parameters.json").stat().st_mtime_ns
    figures = run_step("train", ingested, ID, settings(ingested))
    assert (ingested.staged(ID).model("ials") / "parameters.json").stat().st_mtime_ns == stamp, "fitted again"
    assert figures["n_models"] == 5 and rows(ingested) == rows(whole)
    assert made(ingested) == made(whole)


def test_a_model_is_fitted_again_where_its_settings_or_the_input_changed(ingested: Warehouse) -> None:
    staged = ingested.staged(ID)
    run_step("train", ingested, ID, settings(ingested), model="ials")
    run_step("train", ingested, ID, settings(ingested, models="popular,ials", ials_factors=3))
    assert json.loads(rows(ingested)[0]["parameters"])["factors"] == 3
    assert staged.step("train-ials").exists() and staged.step("train").exists()
    run_step("train", ingested, ID, settings(ingested), model="ials")
    assert not staged.step("train").exists(), "what follows does not belong to the model that was fitted again"
    run_steps(ingested, "ingest")
    assert not staged.step("train-ials").exists() and not (staged.work / "interactions").exists()


def test_a_training_that_was_killed_leaves_a_failed_row(ingested: Warehouse) -> None:
    """A model that takes its process with it is not tried again by the step that joins the others."""
    killed = command(ingested, "als", start_new_session=True)
    while not ingested.staged(ID).step("train-als").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    run_step("train", ingested, ID, settings(ingested, models="popular,ials,als"))
    assert {row["model"]: row["status"] for row in rows(ingested)} == {"als": "failed", "ials": "trained", "popular": "trained"}
    assert rows(ingested)[0]["message"] == "its training did not end"


@pytest.mark.parametrize("name", ["hybrid", "magic"])
def test_what_cannot_be_fitted_by_itself_is_refused(ingested: Warehouse, name: str) -> None:
    with pytest.raises(SettingError, match=f"--model: '{name}' cannot be fitted by itself; expected one of popular, content, ials"):
        run_step("train", ingested, ID, settings(ingested), model=name)


def test_a_model_before_ingest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="run `cinematch ingest"):
        run_step("train", Warehouse(tmp_path), ID, settings(Warehouse(tmp_path)), model="ials")
