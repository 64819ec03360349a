"""The workers of a cluster: send them our code, and see that each can do the work before it is given any.

A worker needs the same Python, the same packages, and the warehouse at the same path. What it imports of ours comes from
the driver, so this module imports nothing that a worker might lack.
"""

from __future__ import annotations

import platform
import re
import secrets
import socket
import sys
import time
import zipfile
from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

from schemas.errors import StepError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CODE = ("schemas", "warehouse", "jobs")
COMPUTE = ("numpy", "scipy", "pandas", "pyarrow", "implicit", "scikit-learn", "psutil", "tqdm")
TOKEN = "token"  # nosec B105  # the name of a file
SETTLED_S = 1.0  # executors of one application start within about this of each other


class Seen(NamedTuple):
    """A worker's account of itself: its host, what is installed there by name, and what is wrong with the warehouse."""

    host: str
    versions: dict[str, str]
    trouble: str


def prepare(spark: SparkSession, *, scratch: Path, wait_s: float) -> None:
    """Wait for executors, send them our code and check them. Raises StepError naming the worker that differs and how.
    `scratch` is a folder of the warehouse."""
    _wait_for_executors(spark, wait_s)
    token = secrets.token_hex(8)
    folder = scratch / f"driver-{token}"  # models of one release may be trained at once
    folder.mkdir(parents=True)
    (folder / TOKEN).write_text(token, encoding="utf-8")
    _send_code(spark, folder)
    n_slots = spark.sparkContext.defaultParallelism  # all of them free, so that each executor gets a task
    try:
        seen = spark.sparkContext.range(n_slots, numSlices=n_slots).map(partial(look, folder, token)).collect()
    except Exception as error:
        raise StepError(_failed(spark.sparkContext.master, str(error))) from error
    for message in differences(seen, versions()):
        raise StepError(message)


def look(folder: Path, token: str, _: int) -> Seen:
    """Runs on the worker."""
    return Seen(socket.gethostname(), versions(), storage_trouble(folder, token))


def versions() -> dict[str, str]:
    """Of what decides a result, in this process."""
    import pyspark

    return {"python": platform.python_version(), "pyspark": pyspark.__version__} | {name: _version(name) for name in COMPUTE}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def storage_trouble(folder: Path, token: str) -> str:
    """Return what keeps this process from reading and writing the driver's folder; empty if nothing does."""
    mine = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        text = (folder / TOKEN).read_text(encoding="utf-8")
        mine.write_text("", encoding="utf-8")
        mine.unlink()
    except OSError as error:
        return str(error)
    return "" if text == token else f"{folder} is another folder there"


def differences(seen: Iterable[Seen], expected: dict[str, str]) -> list[str]:
    """One message for each worker that is not as the driver is."""
    messages = []
    for host, theirs, trouble in sorted(seen):
        other = [name for name in expected if theirs[name] != expected[name]]
        if other:
            said = ", ".join(f"{name} {theirs[name]} where the driver has {expected[name]}" for name in other)
            messages.append(f"Spark worker {host} has {said}; install requirements.lock there, with the same Python")
        elif trouble:
            messages.append(
                f"Spark worker {host} cannot use the warehouse: {trouble}; mount it there at the driver's path, "
                "writable for the worker's user"
            )
    return list(dict.fromkeys(messages))


def _failed(master: str, error: str) -> str:
    """A worker on which not even the check could run."""
    where = re.search(r"\(([^\s()]+) executor \w+\)", error)
    why = re.search(r"PYTHON_VERSION_MISMATCH\]? *([^\n]+)|(Cannot run program [^\n]+)", error)
    reason = next((group for group in why.groups() if group), "") if why else error.strip().splitlines()[0]
    return (
        f"Spark worker {where[1] if where else f'of {master}'} cannot run our tasks: {reason}; it needs the driver's "
        f"Python at {sys.executable}, or setting spark_python naming its own, with the packages of requirements.lock"
    )


def _wait_for_executors(spark: SparkSession, wait_s: float) -> None:
    started, n, since = time.monotonic(), 0, 0.0
    tracker = spark.sparkContext._jsc.sc().statusTracker()
    while n == 0 or time.monotonic() - since < SETTLED_S:
        now = len(tracker.getExecutorInfos()) - 1  # the driver is among them
        if now != n:
            n, since = now, time.monotonic()
        if n == 0 and time.monotonic() - started > wait_s:
            raise StepError(
                f"no executor of {spark.sparkContext.master} within {wait_s:g} s (setting spark_wait_s): expected a "
                f"live worker with a free core, {spark.conf.get('spark.executor.memory')} of free memory and Spark "
                f"{spark.version}; see the master's page, or lower spark_executor_memory"
            )
        time.sleep(0.1)


def _send_code(spark: SparkSession, folder: Path) -> None:
    """Our modules as one zip, which Spark copies to each executor and puts before what is installed there."""
    root, archive = Path(__file__).resolve().parents[2], folder / "cinematch.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for package in CODE:
            for path in sorted((root / package).rglob("*.py")):
                file.write(path, path.relative_to(root))
    before = list(sys.path)
    spark.sparkContext.addPyFile(str(archive.resolve()))
    sys.path[:] = before  # the driver goes on with its own modules, whose data files lie beside them
