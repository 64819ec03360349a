"""Estimates of the memory and disk that a step needs, from its counts, so that a shortage is reported before the step starts.

Each figure is a sum of terms that grow with a count, fitted to measured peaks (`jobs/bench/measured`) and rounded up: an
estimate is meant to be above what happens, and below twice that.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from jobs.kernels.weights import kept_a_row
from jobs.machine.progress import processors, tree_mib
from schemas.errors import ResourceError
from schemas.models import Model, Size
from schemas.settings import Settings

MIB = 2**20
SESSION = 1_150 * MIB  # Spark's JVM and driver before they hold anything of the data: what the collector lets grow
WORKER = 150 * MIB  # a Python worker that has imported what it needs
BYTES_A_ROW = {".parquet": 4, ".gz": 5, ".zip": 5}
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Counts(NamedTuple):
    """The sizes of a release."""

    n_ratings: int
    n_users: int
    n_items: int


class Need(NamedTuple):
    """Bytes of memory and of disk, and the setting that asks for less."""

    memory: float
    disk: float
    setting: str


def step_need(step: str, counts: Counts, settings: Settings) -> Need:
    """Estimate what a step needs at its peak; for `train` without its models, which are `model_need`."""
    workers, rows = workers_of(settings.spark_master), counts.n_ratings
    session = SESSION + workers * WORKER
    listed = counts.n_users * settings.n
    heads = counts.n_users * min(settings.explain_n, settings.n)
    explained, ready = heads * (settings.reasons_n + 2), 2_000 * counts.n_users
    if step == "ingest":
        heap = min(heap_bytes(settings.spark_driver_memory), 450 * MIB + 45 * rows)
        return Need(session + heap, 60 * rows, "spark_driver_memory")
    if step == "train":
        return Need(session + 100 * MIB, 60 * rows + 3 * matrix_bytes(counts, settings), "models")
    if step == "evaluate":
        return Need(session + workers * 80 * MIB + 3 * matrix_bytes(counts, settings), 0, "models")
    if step == "recommend":
        return Need(session + workers * 160 * MIB + matrix_bytes(counts, settings), 20 * (listed + explained) + ready / 2, "n")
    tables = 60 * listed + 60 * explained + ready + 40 * rows  # in SQLite; Parquet has the same again in a third
    return Need(650 * MIB + 4 * rows, 1.4 * tables, "explain_n")


def model_need(model: Model, counts: Counts, settings: Settings) -> Need:
    """Estimate what fitting one model needs, with the session that it runs in."""
    session = SESSION + workers_of(settings.spark_master) * WORKER
    more = model.memory(Size(*counts, matrix_bytes(counts, settings)), settings)
    return Need(session + more + 100 * MIB, 0, model.lowered_by)


def matrix_bytes(counts: Counts, settings: Settings) -> float:
    """Bytes of an item-by-item model."""
    return 8.0 * counts.n_items * min(settings.weights_keep or kept_a_row(counts.n_items), counts.n_items)


def heap_bytes(text: str) -> float:
    """Spark's notation of memory: `2g`, `512m`, `4096` (MiB)."""
    units = {"k": 2**10, "m": MIB, "g": 2**30, "t": 2**40}
    number = text.lower().removesuffix("b")
    return float(number[:-1]) * units[number[-1]] if number[-1] in units else float(number) * MIB


def check(what: str, need: Need, settings: Settings, folder: Path) -> None:
    """Raise ResourceError if a step or a model would not fit, with the figures and what would help. Memory is only looked
    at where Spark runs on this machine; on a cluster the executors have theirs."""
    limit, whose = memory_limit(settings)
    if settings.spark_master.startswith("local") and need.memory > limit:
        raise ResourceError(
            f"{what} needs about {need.memory / MIB:,.0f} MiB of memory; there are {limit / MIB:,.0f} MiB ({whose}). Lower "
            f"{need.setting}, or raise memory_mib where more can be spared"
        )
    free = free_disk(folder)
    if need.disk > free:
        raise ResourceError(
            f"{what} needs about {need.disk / MIB:,.0f} MiB of disk in {folder}; {free / MIB:,.0f} MiB are free. Free some, move the "
            f"warehouse, or prune releases; nothing was written"
        )


def memory_limit(settings: Settings) -> tuple[float, str]:
    """Bytes that a step may take, and who says so."""
    if settings.memory_mib:
        return settings.memory_mib * MIB, "setting memory_mib"
    free = psutil.virtual_memory().available + tree_mib() * MIB  # what is ours already is counted as needed, too
    for path in map(Path, CGROUPS):
        try:
            most = float(path.read_text())  # "max" where there is no limit
        except (OSError, ValueError):
            continue
        if most < free:
            return most, "the limit of this container"
    return free, "free now"


def free_disk(folder: Path) -> float:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def workers_of(master: str) -> int:
    """Python workers side by side on this machine under a Spark master."""
    asked = re.fullmatch(r"local\[(\d+)(,.*)?\]", master)
    return int(asked[1]) if asked else 1 if master == "local" else processors()


def counts_of(figures: Mapping[str, int]) -> Counts:
    """From the figures of a finished ingest."""
    return Counts(figures["n_accepted"], figures["n_users"], figures["n_items"])


def guessed_rows(paths: Iterable[Path]) -> float:
    """Rows of input files from their sizes: fewer bytes a row than most have, so rather too many rows."""
    return sum(path.stat().st_size / BYTES_A_ROW.get(path.suffix.lower(), 16) for path in paths)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that no more can be written; Spark and SQLite say so only in words."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
            words in str(error) for words in ("No space left on device", "database or disk is full", "File too large")
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
