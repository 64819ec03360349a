"""A whole run as a real process group, killed at points of every step and interrupted: what is served is always whole, and
the next run succeeds and clears what was left."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from jobs.staging.record import STEPS
from tests.conftest import write_tiny_ratings
from warehouse.layout import Warehouse
from warehouse.release import current_id, damage, read_manifest, sealed_ids
from warehouse.sqlite import failed_checks, open_immutable

KILLS = int(os.environ.get("KILLS", "20"))  # of them two in each step
N_IN_EACH_STEP, N_AT_ONCE, SEED = 2, 2, 11
PATIENCE_S = 120
OPTIONS = {
    "source": "table",
    "path": "ratings.csv",
    "spark-master": "local[1]",
    "spark-driver-memory": "512m",
    "models": "popular,ials",
    "serve": "ials",
    "holdout-users": "1",
    "ials-factors": "2",
    "ials-iterations": "1",
    "n": "5",
    "parity-users": "3",
}
# Promoting says nothing in the log; it begins where sealing is done.
BEGINS = {step: rf" {step}: release \S+ starts" for step in STEPS} | {"promote": r" seal: release \S+ done"}


@dataclass
class Run:
    """`cinematch run` in a process group of its own, and its log lines with the seconds at which they came."""

    folder: Path
    log: list[tuple[float, str]] = field(default_factory=list)

    def __enter__(self) -> Run:
        options = [word for name, value in (OPTIONS | {"warehouse": str(self.folder)}).items() for word in (f"--{name}", value)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "run", *options],
            cwd=self.folder.parent,
            start_new_session=True,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        for line in self.process.stderr:
            with self._said:
                self.log.append((time.monotonic() - self.started, line))
                self._said.notify_all()

    def __exit__(self, *_: object) -> None:
        """SIGKILL to the group, then wait until the last process that it started is gone."""
        tree = self.tree()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        alive = psutil.wait_procs(tree, timeout=30)[1]
        self._reader.join()
        self.process.stderr.close()
        assert not alive

    def tree(self) -> list[psutil.Process]:
        """This process and all that it started."""
        try:
            me = psutil.Process(self.process.pid)
            return [me, *me.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def at(self, pattern: str) -> float | None:
        return next((seconds for seconds, line in self.log if re.search(pattern, line)), None)

    def wait_for(self, pattern: str) -> None:
        with self._said:
            assert self._said.wait_for(lambda: self.at(pattern) is not None, PATIENCE_S), self.shown()

    def succeed(self) -> float:
        """Wait for its end; seconds from its start."""
        status = self.process.wait(PATIENCE_S)
        seconds = time.monotonic() - self.started
        self._reader.join()
        assert status == 0, self.shown()
        return seconds

    def shown(self) -> str:
        return "".join(line for _, line in self.log)


class Point(NamedTuple):
    """When to kill: so many seconds after a step begins, or after the start of the process."""

    step: str | None
    seconds: float

    def kill(self, folder: Path) -> None:
        with Run(folder) as run:
            if self.step:
                run.wait_for(BEGINS[self.step])
            time.sleep(self.seconds)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float], float]:
    """A warehouse with one promoted release, the seconds of each step of its run, and of the whole."""
    folder = tmp_path_factory.mktemp("clean") / "warehouse"
    write_tiny_ratings(folder.parent / "ratings.csv", n_users=11)
    with Run(folder) as run:
        whole = run.succeed()
    begins = [run.at(BEGINS[step]) for step in STEPS]
    return folder, dict(zip(STEPS, [after - begin for begin, after in zip(begins, [*begins[1:], whole])])), whole


def assert_nothing_half_done(warehouse: Warehouse) -> None:
    """`current` is absent or names a release that is whole, as every release that is listed is."""
    listed = sealed_ids(warehouse)
    assert current_id(warehouse) in (None, *listed)
    for name in listed:
        release = warehouse.sealed(name)
        manifest = read_manifest(release)
        assert damage(release, manifest) == {}
        connection = open_immutable(release.database)
        assert failed_checks(connection, manifest.rating_scale) == {}
        connection.close()


def killed_again_and_again(folder: Path, points: list[Point]) -> None:
    for point in points:
        point.kill(folder)
        assert_nothing_half_done(Warehouse(folder))
    with Run(folder) as run:
        run.succeed()
    warehouse = Warehouse(folder)
    assert_nothing_half_done(warehouse)
    assert current_id(warehouse) == sealed_ids(warehouse)[-1]
    assert not list(warehouse.staging.iterdir())
    assert {path.name for path in folder.iterdir()} <= {".lock", "current", "catalog.db", "promotions.jsonl", "releases", "raw"}


def test_a_run_killed_at_points_of_every_step(clean: tuple[Path, dict[str, float], float], tmp_path: Path) -> None:
    """Half of the kills meet a warehouse where nothing was ever promoted, half one with a release."""
    folder, spans, whole = clean
    draw = random.Random(SEED)
    points = [Point(step, draw.uniform(0, spans[step])) for step in STEPS for _ in range(N_IN_EACH_STEP)]
    points += [Point(None, draw.uniform(0, whole)) for _ in range(KILLS - len(points))]
    draw.shuffle(points)
    folders = [tmp_path / "empty" / "warehouse", tmp_path / "promoted" / "warehouse"]
    for target in folders:
        target.parent.mkdir()
        shutil.copy(folder.parent / "ratings.csv", target.parent)
    shutil.copytree(folder, folders[1])
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        for done in [pool.submit(killed_again_and_again, target, points[i::2]) for i, target in enumerate(folders)]:
            done.result()
    print(f"{len(points)} kills of steps: every release whole, and the next run succeeds")


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize(("step", "seconds"), [("ingest", 1.5), ("ingest", 4.5), ("train", 2), ("recommend", 0.3), ("seal", 0.02)])
def test_a_run_interrupted_ends_with_130_and_leaves_neither_staging_nor_processes(step: str, seconds: float, tmp_path: Path) -> None:
    write_tiny_ratings(tmp_path / "ratings.csv", n_users=11)
    with Run(tmp_path / "warehouse") as run:
        run.wait_for(BEGINS[step])
        time.sleep(seconds)
        tree = run.tree()
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.process.wait(PATIENCE_S) == 130, run.shown()
        assert not psutil.wait_procs(tree, timeout=20)[1]
    warehouse = Warehouse(tmp_path / "warehouse")
    assert "nothing was promoted" in run.shown()
    assert current_id(warehouse) is None and sealed_ids(warehouse) == [] and not list(warehouse.staging.iterdir())
