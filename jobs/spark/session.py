"""The Spark session of a step: one way to start it, on this machine or on a cluster."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.spark import java_greetings, workers
from schemas.errors import was_interrupted
from schemas.settings import Settings

log = logging.getLogger("cinematch")

# BLAS on one thread: the small solves of a fold-in get many times slower on several, and tasks already fill the cores.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")


@contextmanager
def spark_session(settings: Settings, *, scratch: Path) -> Iterator[SparkSession]:
    """A session on settings.spark_master with its temporary files in scratch, stopped at the end. Raises KeyboardInterrupt
    where Ctrl-C ended what ran in it."""
    is_local = settings.spark_master.startswith("local")
    python = sys.executable if is_local else settings.spark_python or sys.executable
    os.environ.update(ONE_THREAD, PYSPARK_PYTHON=python, PYSPARK_DRIVER_PYTHON=sys.executable)
    scratch = scratch.absolute()  # workers of a cluster run in other folders
    scratch.mkdir(parents=True, exist_ok=True)
    builder = (
        SparkSession.builder.appName("cinematch")
        .master(settings.spark_master)
        .config("spark.driver.memory", settings.spark_driver_memory)
        .config("spark.executor.memory", settings.spark_executor_memory)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.local.dir", str(scratch.resolve()))
        .config("spark.sql.warehouse.dir", str((scratch / "sql").resolve()))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.driver.extraJavaOptions", f"-XX:+UseParallelGC -Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}")
    )
    if is_local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        builder = builder.config("spark.python.daemon.module", "jobs.spark.daemon")
    if settings.spark_cores:
        builder = builder.config("spark.cores.max", str(settings.spark_cores))
    for name, value in ONE_THREAD.items():
        builder = builder.config(f"spark.executorEnv.{name}", value)
    with _own_interrupts():
        spark = _started(builder)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, partial(_interrupt, spark))
        try:
            if not is_local:
                workers.prepare(spark, scratch=scratch, wait_s=settings.spark_wait_s)
            yield spark
        except Exception as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise
        finally:
            spark.stop()
            gc.collect()  # a Java object that is dropped later would swallow a Ctrl-C that comes at that moment


def _started(builder: SparkSession.Builder) -> SparkSession:
    """Start a session from another thread than the main one, where PySpark would take Ctrl-C over: its handler cancels on the
    very connection that it interrupted, which fails now and then; the command is then sent again, as after a network error,
    and Ctrl-C is lost."""
    with java_greetings.left_out(), ThreadPoolExecutor(1) as pool:
        starting = pool.submit(builder.getOrCreate)
        try:
            return starting.result()
        except KeyboardInterrupt:
            starting.result().stop()
            raise


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Give Ctrl-C back as it was found."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _interrupt(spark: SparkSession, number: int, frame: object) -> None:
    """Cancel what runs, from a thread with a connection of its own, and raise."""
    threading.Thread(target=_cancel, args=(spark,), daemon=True).start()
    raise KeyboardInterrupt


def _cancel(spark: SparkSession) -> None:
    try:
        spark.sparkContext.cancelAllJobs()
    except Exception as error:  # the JVM got the Ctrl-C as well, and may be gone before it is asked
        log.debug("jobs were not cancelled: %s", error)
