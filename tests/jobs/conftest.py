"""Releases caught between their steps."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.run import run_step
from tests.conftest import small_settings, write_tiny_ratings
from warehouse.layout import Warehouse

STAGED_ID = "20260104T020000Z"
TINY = {
    "source": "table",
    "models": "popular,content,ials,als",
    "serve": "ials",
    "ials_factors": 4,
    "als_factors": 4,
    "parity_users": 12,
    "holdout_users": 0.5,
}


def run_steps(warehouse: Warehouse, *names: str, release_id: str = STAGED_ID) -> dict:
    """Run steps of a release that is being built from the tiny ratings; figures of the last."""
    settings = small_settings(warehouse.folder, path=str(warehouse.folder / "ratings.csv"), **TINY)
    return [run_step(name, warehouse, release_id, settings) for name in names][-1]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A release in staging whose models are trained; its items are single letters, so `content` has no word to work on."""
    folder = tmp_path_factory.mktemp("steps")
    write_tiny_ratings(folder / "ratings.csv", item_ids="abcdefghijklmnopqrst")
    run_steps(Warehouse(folder), "ingest", "train")
    return Warehouse(folder)


@pytest.fixture(scope="session")
def listed(trained: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A release in staging that is trained, evaluated and has its lists: ready to be sealed."""
    folder = tmp_path_factory.mktemp("listed") / "warehouse"
    shutil.copytree(trained.folder, folder)
    run_steps(Warehouse(folder), "evaluate", "recommend")
    return Warehouse(folder)


@pytest.fixture
def copied(trained: Warehouse, tmp_path: Path) -> Warehouse:
    """The trained release, for one test to go on with."""
    return Warehouse(shutil.copytree(trained.folder, tmp_path / "trained"))


@pytest.fixture
def ready(listed: Warehouse, tmp_path: Path) -> Warehouse:
    """The release with its lists, for one test to seal."""
    return Warehouse(shutil.copytree(listed.folder, tmp_path / "listed"))


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Let what a test starts hear Ctrl-C. A shell starts what it runs in the background deaf to it, and deafness is inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
