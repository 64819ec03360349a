"""Spark on a cluster: a real standalone master and workers on loopback give the tables of a local run, also where one of
them is killed meanwhile, and a worker that is not as the driver is refused by name."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import psutil
import pyarrow as pa
import pyspark
import pytest

from jobs.spark.session import spark_session
from jobs.spark.tasks import collect, map_parts
from schemas.errors import StepError
from schemas.settings import Settings
from tests.conftest import Built, SMALL, small_settings
from warehouse import parquet
from warehouse.layout import Warehouse
from warehouse.release import sealed_ids

T = TypeVar("T")
RUN_LIMIT_S = 240
HOST = re.escape(socket.gethostname())
SPARK = Path(pyspark.__file__).parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CINEMATCH_")} | {
    "SPARK_HOME": str(SPARK),
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
}


def awaited(found: Callable[[], T], what: str, *, limit_s: float = 60, every_s: float = 0.1) -> T:
    """Ask `found` again and again, and return its first answer that is not empty."""
    end = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < end, f"{what}: not within {limit_s} s"
        time.sleep(every_s)
    return value


class Cluster:
    """A master and workers of one core each, on free ports of loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._started = folder, []
        _, log = self._start("master")
        self.url = awaited(lambda: re.search(r"Starting Spark master at (\S+)", log.read_text()), "the master")[1]
        self.workers: list[psutil.Popen] = []
        for _ in range(2):
            self.add_worker()

    def add_worker(self) -> None:
        work = self._folder / f"work-{len(self._started)}"
        process, log = self._start("worker", "--cores", "1", "--memory", "1g", "--work-dir", str(work), self.url)
        awaited(lambda: "Successfully registered" in log.read_text(), f"worker {log}")
        self.workers.append(process)

    def _start(self, kind: str, *arguments: str) -> tuple[psutil.Popen, Path]:
        log = self._folder / f"{kind}-{len(self._started)}.log"
        with log.open("wb") as file:
            process = psutil.Popen(
                [
                    SPARK / "bin" / "spark-class",
                    f"org.apache.spark.deploy.{kind}.{kind.title()}",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    "0",
                    "--webui-port",
                    "0",
                    *arguments,
                ],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process, log

    def worker_of(self, pid: int) -> psutil.Popen | None:
        """The worker under which a process runs."""
        above = {parent.pid for parent in psutil.Process(pid).parents()}
        return next((worker for worker in self.workers if worker.pid in above), None)

    def kill(self, worker: psutil.Popen) -> None:
        """The worker and its executor with SIGKILL, as when a machine goes; what Python they had started must end by itself."""
        there = worker.children(recursive=True)
        for process in [worker, *(process for process in there if process.name() == "java")]:
            process.kill()
        self.workers.remove(worker)
        worker.wait(10)
        assert psutil.wait_procs(there, timeout=20)[1] == []

    def stop(self) -> None:
        for process in self._started:
            for one in [*(process.children(recursive=True) if process.is_running() else ()), process]:
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue
            process.wait(10)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        started = Cluster(tmp_path_factory.mktemp("cluster"))
        try:
            yield started
        finally:
            started.stop()


def settings_on(cluster: Cluster, folder: Path, **changed: object) -> Settings:
    return small_settings(folder, **{"spark_master": cluster.url, "spark_executor_memory": "600m", "spark_wait_s": 60} | changed)


def training_process(cluster: Cluster) -> int:
    """The number of a process that fits a model on a worker: it maps the interactions. 0 if none does now."""
    for worker in cluster.workers:
        for process in worker.children(recursive=True):
            try:
                maps = Path(f"/proc/{process.pid}/maps").read_text()
            except OSError:
                continue
            if re.search(r"\.work/interactions/\w+\.npy", maps):
                return process.pid
    return 0


def test_a_release_is_the_same_where_a_worker_is_killed_while_it_trains(cluster: Cluster, movie_release: Built, tmp_path: Path) -> None:
    flags = SMALL | {"spark_master": cluster.url, "spark_executor_memory": "600m", "source": "sample", "scale": 0.1, "holdout_users": 0.3}
    command = [sys.executable, "-m", "jobs.cli", "run", "--warehouse", "w"]  # a relative path, which is another on a worker
    command += [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with (
        (tmp_path / "log").open("wb") as log,
        psutil.Popen(
            command, cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parents[3])}, stdout=log, stderr=subprocess.STDOUT
        ) as run,
    ):
        try:
            trains = awaited(lambda: training_process(cluster) or run.poll() is not None, "training", limit_s=RUN_LIMIT_S, every_s=0.01)
            if run.poll() is None:
                cluster.kill(cluster.worker_of(trains))
            status = run.wait(RUN_LIMIT_S)
        finally:
            for process in [*run.children(recursive=True), run] if run.is_running() else []:
                process.kill()
    said = (tmp_path / "log").read_text()
    assert status == 0, said
    assert re.search(r"WARNING .+: 1 tasks were lost and ran again", said), said
    warehouse = Warehouse(tmp_path / "w")
    built = Built(warehouse, sealed_ids(warehouse)[0])
    digests = [{name: table["content_sha256"] for name, table in one.manifest.tables.items()} for one in (built, movie_release)]
    assert digests[0] == digests[1]
    assert built.manifest.versions == movie_release.manifest.versions
    assert not list(warehouse.staging.iterdir()) and not list(built.release.folder.rglob(".*"))


def test_a_part_that_was_being_written_is_written_again_whole(cluster: Cluster, tmp_path: Path) -> None:
    """The first attempt at each part of a worker stops after half of its rows, and the worker is killed there."""
    while len(cluster.workers) < 2:
        cluster.add_worker()
    folder, schema, n_rows = tmp_path / "rows", pa.schema({"x": pa.int64()}), parquet.ROW_GROUP + 10
    mark = tmp_path / "writing"

    def produce(number: int) -> pa.Table:
        def blocks() -> Iterator[pa.Table]:
            yield pa.table({"x": range(parquet.ROW_GROUP)})
            if number == 1 and not mark.exists():
                mark.write_text(str(os.getpid()))
                time.sleep(300)
            yield pa.table({"x": range(parquet.ROW_GROUP, n_rows)})

        return pa.table({"n": [parquet.write(parquet.part(folder, number), blocks(), schema)]})

    def kill_the_writer() -> None:
        cluster.kill(cluster.worker_of(int(awaited(lambda: mark.exists() and mark.read_text(), "the first half"))))

    with spark_session(settings_on(cluster, tmp_path), scratch=tmp_path / "spark") as spark, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_the_writer)
        counts = collect(spark, map_parts(spark, 4, produce, "n long"), label="rows", n_tasks=4)
        killed.result()
    assert counts["n"].to_pylist() == [n_rows] * 4
    assert [path.name for path in parquet.parts(folder)] == [f"part-{number:05d}.parquet" for number in range(4)]
    assert all(parquet.read(path)["x"].to_pylist() == list(range(n_rows)) for path in parquet.parts(folder))
    assert [path.name.rsplit(".", 2)[0] for path in folder.glob(".*.tmp")] == [".part-00001.parquet"]  # what was torn, and is not read


@pytest.fixture
def other_numpy(tmp_path: Path) -> Path:
    """A Python of a worker on which another numpy is installed."""
    (tmp_path / "packages" / "numpy-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "packages" / "numpy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/packages:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_a_worker_with_another_package_is_named(cluster: Cluster, tmp_path: Path, other_numpy: Path) -> None:
    numpy = re.escape(version("numpy"))
    refused_to_start(
        cluster,
        tmp_path,
        f"Spark worker {HOST} has numpy 1.0 where the driver has {numpy}; install requirements.lock",
        spark_python=str(other_numpy),
    )


def test_a_worker_without_our_python_is_named(cluster: Cluster, tmp_path: Path) -> None:
    refused_to_start(
        cluster,
        tmp_path,
        r"Spark worker 127\.0\.0\.1 cannot run our tasks: Cannot run program .*/nowhere/python",
        spark_python="/nowhere/python",
    )


def test_a_worker_that_does_not_see_the_warehouse_is_named(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warehouse lies where each process sees its own working directory."""
    monkeypatch.chdir(tmp_path)
    refused_to_start(
        cluster,
        Path("/proc/self/cwd"),
        rf"Spark worker {HOST} cannot use the warehouse: .*No such file.*mount it there at the driver's path",
    )


def test_a_cluster_without_room_is_given_up_after_a_while(cluster: Cluster, tmp_path: Path) -> None:
    refused_to_start(
        cluster, tmp_path, "no executor of spark://.* within 2 s.*64g of free memory", spark_executor_memory="64g", spark_wait_s=2
    )


def refused_to_start(cluster: Cluster, folder: Path, message: str, **changed: object) -> None:
    settings = settings_on(cluster, folder, **changed)
    with pytest.raises(StepError, match=message), spark_session(settings, scratch=folder / "spark"):
        raise AssertionError("the session started")
