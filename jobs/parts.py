"""Run one function for each part of the data as Spark tasks, and watch them.

A part is a file on storage that driver and executors share; a task opens its part itself, so no row passes through the
driver, and writes its result beside it, whole or not at all. Parts are cut between users, in the order of user ids.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.progress import Progress


def each_part(spark: SparkSession, n_parts: int, produce: Callable[[int], pa.Table], schema: str) -> DataFrame:
    """A DataFrame of what produce(part number) gives for each part; schema as Spark DDL. One task a part, run lazily."""

    def tasks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from produce(number).to_batches()

    return spark.range(0, n_parts, 1, n_parts).mapInArrow(tasks, schema)


def collect(spark: SparkSession, frame: DataFrame, *, label: str, n_tasks: int) -> pa.Table:
    """Run a DataFrame whose rows are few (figures, not data), showing how many tasks are done."""
    group = f"cinematch {label}"
    spark.sparkContext.setJobGroup(group, label, interruptOnCancel=True)
    tracker = spark.sparkContext.statusTracker()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            stages = {
                s for job in tracker.getJobIdsForGroup(group) for s in (tracker.getJobInfo(job) or _NO_JOB).stageIds
            }
            infos = [info for info in map(tracker.getStageInfo, stages) if info is not None]
            if infos:
                last = max(infos, key=lambda info: info.stageId)
                progress.at(last.numCompletedTasks)

    with Progress(label, total=n_tasks, unit="parts") as progress:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            return frame.toArrow()
        finally:
            stop.set()
            watcher.join()


class _NoJob:
    stageIds: tuple = ()


_NO_JOB = _NoJob()
