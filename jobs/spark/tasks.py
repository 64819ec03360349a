"""Run one function for each part of the data as Spark tasks, and watch them.

A part is a file on storage that driver and executors share; a task opens its part itself, so no row passes through the
driver, and writes its result beside it, whole or not at all. Parts are cut between users, in the order of user ids.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark import SparkStageInfo, StatusTracker
from pyspark.sql import DataFrame, SparkSession

from jobs.machine.progress import Progress

log = logging.getLogger("cinematch")


def map_parts(spark: SparkSession, n_parts: int, produce: Callable[[int], pa.Table], schema: str) -> DataFrame:
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
            if infos := _stages(tracker, group):
                progress.at(max(infos, key=lambda info: info.stageId).numCompletedTasks)

    with Progress(label, total=n_tasks, unit="parts") as progress:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            table = frame.toArrow()
        finally:
            stop.set()
            watcher.join()
    if n_lost := sum(info.numFailedTasks for info in _stages(tracker, group)):
        log.warning("%s: %d tasks were lost and ran again", label, n_lost)
    return table


def _stages(tracker: StatusTracker, group: str) -> list[SparkStageInfo]:
    jobs = map(tracker.getJobInfo, tracker.getJobIdsForGroup(group))
    stages = {stage for job in jobs if job is not None for stage in job.stageIds}
    return [info for info in map(tracker.getStageInfo, stages) if info is not None]
