"""bench plan: what a release of any size would take, step by step, from the rates of one measured release.

Each piece of work grows with a known quantity: rows, users times items, the cube of what EASE covers. The largest measured
record of `bench scale` gives the price of one unit; the smaller ones, which it must give back within 30 %, show whether the
quantities are the right ones. Some pieces use every core, some only one, and every step has a start that no core shortens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from jobs.bench.growth import Record, whole_scales
from jobs.kernels.weights import kept_a_row
from jobs.machine import needs
from jobs.machine.needs import Counts, MIB
from schemas.models import MODELS
from schemas.settings import Settings

GIB = 2**30
MACHINE_CORES, MACHINE_GIB = 16, 128  # what a worker machine is taken to be
SHARD_GIB = 64  # largest SQLite file that one server is given
SEARCH_S = {"ials": 12.0, "als": 8.0, "transitions": 3.0, "hybrid": 2.0}  # of training: hyper-parameters, on as many rows at any size
START_S = {"ingest": 11.0, "train": 9.0 + sum(SEARCH_S.values()), "evaluate": 9.0, "recommend": 11.0, "seal": 2.0}
READ_SHARE = 0.12  # of ingest's work: the pass of the driver, which one core does
LIST_US = 550.0, 4.0e-3, 9.0e-3  # a list: a user, an item, a term of the history times the matrix


class Work(NamedTuple):
    """A piece of a step: its quantity, and whether every core shares it."""

    step: str
    name: str
    units: Callable[[Counts], float]
    is_shared: bool


def _als(counts: Counts) -> float:
    f = 64
    return counts.n_ratings * f * (f + 40) + (counts.n_users + counts.n_items) * f**3 / 3


def _list_us(counts: Counts) -> float:
    """Microseconds of one core for a list, as profiled."""
    user, item, term = LIST_US
    terms = counts.n_ratings / counts.n_users * min(kept_a_row(counts.n_items), counts.n_items)
    return user + item * counts.n_items + term * terms


WORKS = (
    Work("ingest", "read", lambda c: c.n_ratings, False),
    Work("ingest", "sort", lambda c: c.n_ratings, True),
    Work("train", "interactions", lambda c: c.n_ratings, True),
    Work("train", "ials", _als, True),
    Work("train", "als", _als, True),
    Work("train", "item_neighbours", lambda c: c.n_ratings**2 / c.n_users, True),
    Work("train", "transitions", lambda c: c.n_ratings, False),
    Work("train", "svd", lambda c: c.n_ratings, False),
    Work("train", "ease", lambda c: min(c.n_items, 5000) ** 3 / 3 + 3e3 * c.n_ratings, False),
    Work("train", "hybrid", lambda c: min(2**26, 4_000 * c.n_items), False),
    Work("train", "similar items", lambda c: c.n_items**2, True),
    Work("evaluate", "evaluate", lambda c: c.n_users * _list_us(c), True),
    Work("recommend", "recommend", lambda c: c.n_users * _list_us(c), True),
    Work("seal", "seal", lambda c: 50 * c.n_users + 100 * c.n_users + c.n_ratings, False),
)


def prices(record: Record) -> dict[str, float]:
    """Core-seconds of one unit of each piece of work, from a measured release."""
    counts, cores = counts_of(record), record["n_processors"]
    models = {work.name for work in WORKS if f"{work.name}_train_s" in record}
    seconds = {name: max(record[f"{name}_train_s"] - SEARCH_S.get(name, 0.0), 0.0) for name in models}
    rest = record["train_s"] - START_S["train"] - sum(seconds.values())
    seconds |= {"interactions": 0.15 * rest, "similar items": 0.85 * rest}  # as profiled at 32 million
    ingest = record["ingest_s"] - START_S["ingest"]
    seconds |= {"read": READ_SHARE * ingest, "sort": (1 - READ_SHARE) * ingest}
    seconds |= {step: record[f"{step}_s"] - START_S[step] for step in ("evaluate", "recommend", "seal")}
    return {work.name: seconds.get(work.name, 0.0) * (cores if work.is_shared else 1) / work.units(counts) for work in WORKS}


def step_seconds(counts: Counts, price: dict[str, float], cores: int) -> dict[str, float]:
    """Seconds of each step on so many cores."""
    seconds = dict(START_S)
    for work in WORKS:
        seconds[work.step] += price[work.name] * work.units(counts) / (cores if work.is_shared else 1)
    return seconds


def measure(settings: Settings, *, users: int, items: int, ratings: int, cores: int) -> dict[str, Any]:
    """Print the plan; returns its figures."""
    counts = Counts(ratings, users, items)
    price = prices(whole_scales()[-1])
    seconds = step_seconds(counts, price, cores)
    core_h = {work.name: price[work.name] * work.units(counts) / 3600 for work in WORKS}
    figures: dict[str, Any] = {"n_users": users, "n_items": items, "n_ratings": ratings, "n_cores": cores}
    figures |= {f"{step}_s": round(value, 1) for step, value in seconds.items()}
    figures["steps_s"] = round(sum(seconds.values()), 1)
    figures["core_hours"] = round(sum(core_h.values()), 2)
    figures |= _bytes(counts, settings, cores)
    for line in (*_steps_text(seconds, core_h), *_bytes_text(figures), *_breaks(counts, settings, figures, core_h)):
        print(line, file=sys.stderr)
    return figures


def _bytes(counts: Counts, settings: Settings, cores: int) -> dict[str, float]:
    machines = max(1, -(-cores // MACHINE_CORES))
    factors = 4 * 64 * (counts.n_users + counts.n_items)
    matrix = needs.matrix_bytes(counts, settings)
    listed, explained = settings.n * counts.n_users, 5 * settings.explain_n * counts.n_users
    sqlite = 52 * listed + 52 * explained + 23 * counts.n_ratings
    shuffled = 2 * 25 * counts.n_ratings
    read = machines * (2 * settings.ials_iterations * factors + matrix) + 2 * settings.ials_iterations * 8 * counts.n_ratings
    return {
        "interactions_gib": round(16 * counts.n_ratings / GIB, 2),
        "factors_gib": round(factors / GIB, 2),
        "matrix_gib": round(matrix / GIB, 2),
        "sqlite_gib": round(sqlite / GIB, 2),
        "n_shards": max(1, -(-int(sqlite) // (SHARD_GIB * GIB))),
        "network_gib": round((shuffled + read) / GIB, 2),
        "disk_gib": round(sum(needs.step_need(step, counts, settings).disk for step in START_S) / GIB, 2),
    }


def _steps_text(seconds: dict[str, float], core_h: dict[str, float]) -> list[str]:
    lines = [f"{'step':<10} {'seconds':>12}   core-hours of its parts"]
    for step, took in seconds.items():
        of_step = [work for work in WORKS if work.step == step]
        parts = ", ".join(f"{w.name} {core_h[w.name]:,.2f}{'' if w.is_shared else ' (one core)'}" for w in of_step)
        lines.append(f"{step:<10} {took:>12,.0f}   {parts}")
    return lines


def _bytes_text(figures: dict[str, Any]) -> list[str]:
    named = ("interactions_gib", "factors_gib", "matrix_gib", "sqlite_gib", "network_gib", "disk_gib")
    sizes = ", ".join(f"{name.removesuffix('_gib')} {figures[name]:,}" for name in named)
    return [f"GiB: {sizes}; SQLite in {figures['n_shards']:,} shards of {SHARD_GIB} GiB at most"]


def _breaks(counts: Counts, settings: Settings, figures: dict[str, Any], core_h: dict[str, float]) -> list[str]:
    """Say what no longer works at this size, the first to break first, and what takes its place."""
    memory = MACHINE_GIB * GIB
    neighbours = needs.model_need(MODELS["item_neighbours"], counts, settings).memory
    larger = 4 * settings.ials_factors * max(counts.n_users, counts.n_items)
    sqlite, matrix = figures["sqlite_gib"], figures["matrix_gib"]
    limits = (
        (
            neighbours / memory,
            f"item_neighbours and transitions, which lay interactions out in one task of {neighbours / GIB:,.0f} GiB: blocks of users as tasks",
        ),
        (
            larger / (settings.als_broadcast_mib * MIB),
            f"ALS by fold-in, every task mapping {larger / GIB:,.1f} GiB: blocks of the other side in turn, or MLlib",
        ),
        (
            sqlite / SHARD_GIB,
            f"one SQLite file of {sqlite:,.0f} GiB: {figures['n_shards']:,} files by range of user id, one a server",
        ),
        (core_h["read"], f"reading in the driver, {core_h['read']:,.1f} h of one core: a reader a file, as Spark tasks"),
        (core_h["seal"], f"sealing, {core_h['seal']:,.1f} h of one core: a shard a task"),
        (
            core_h["recommend"] / 2_000,
            f"all items scored for all users, {core_h['recommend']:,.0f} core-hours: candidates from an index first",
        ),
        (
            matrix * GIB / (memory / 4),
            f"the item-by-item matrix, {matrix:,.1f} GiB mapped by every worker: fewer weights a row",
        ),
    )
    broken = sorted((limit for limit in limits if limit[0] > 1), reverse=True)
    return [f"breaks: {text} ({times:,.1f} times the limit)" for times, text in broken] or ["breaks: nothing"]


def counts_of(record: Record) -> Counts:
    return Counts(record["n_accepted"], record["n_users"], record["n_items"])
