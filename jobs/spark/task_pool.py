"""Where the work of a model's training runs: as Spark tasks that share storage, or in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.machine.progress import processors
from jobs.spark.tasks import collect, map_parts

ONE_TASK = 2_000_000  # interactions below which sharing work out costs more than it saves
RANGES_A_WORKER = 4
LOST = ("Python worker exited unexpectedly", "ExecutorLostFailure", "Python worker failed to connect back")


class Runner(Protocol):
    """Runs task(0), ..., task(n - 1), in any order, perhaps elsewhere and perhaps twice; they leave their results in files."""

    n_workers: int

    def each(self, n: int, task: Callable[[int], None], *, label: str) -> None: ...


def ranges(starts: np.ndarray, n: int) -> list[int]:
    """Bounds of at most n ranges of rows that cost about as much each, the last rows without any cost among them; starts (r + 1,),
    what all rows before a row cost, and last what all do."""
    last = len(starts) - 1
    bounds = np.searchsorted(starts, np.linspace(0, starts[-1], n + 1)[:-1])
    return np.unique(np.append(bounds.clip(0, last), last)).tolist()


class InProcess:
    """One after another, here."""

    n_workers = 1

    def each(self, n: int, task: Callable[[int], None], *, label: str) -> None:
        for number in range(n):
            task(number)


class OnSpark:
    """Run pieces of work as tasks of a Spark session."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self.n_workers = max(spark.sparkContext.defaultParallelism, processors() if spark.sparkContext.master.startswith("local") else 1)

    def each(self, n: int, task: Callable[[int], None], *, label: str) -> None:
        def produce(number: int) -> pa.Table:
            task(number)
            return pa.table({"n": pa.array([1], pa.int64())})

        collect(self.spark, map_parts(self.spark, n, produce, "n long"), label=label, n_tasks=n)


def reason_of(error: BaseException) -> str:
    """Return what went wrong, in a line, also if it went wrong in a task: Spark raises its own error around a whole traceback."""
    text = str(error)
    if any(words in text for words in LOST):
        return "the Spark worker that it ran in was lost, most likely for lack of memory; give it more, or make the model smaller"
    if "Traceback (most recent call last):" in text:
        raised = text.split("Traceback (most recent call last):")[-1].splitlines()[1:]
        return next((line.strip() for line in raised if line[:1].strip()), text.strip().splitlines()[0])
    return f"{type(error).__name__}: {error}".splitlines()[0]
