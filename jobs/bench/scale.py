"""bench scale: a release of so many generated ratings, from MovieLens' own CSV files to the running server, step by step.

Every step is the command that a user or the DAG would run, a process of its own, so that its seconds hold its start and its
peak memory is its own. The sizes of MovieLens are met where they exist: 1,000,209 and 32,000,204 ratings have the users and
items of ML-1M and ML-32M. What is served is compared with a small release that is served by the same machine in the same run.
"""

from __future__ import annotations

import json
import random
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench.generated_release import remove
from jobs.bench.load import loaded, Plan
from jobs.bench.requests import cycled
from jobs.bench.sample_arrays import movielens_files, scale_of
from jobs.bench.server import product_server
from jobs.bench.wire import request
from jobs.machine.progress import processors
from jobs.staging.record import STEPS
from schemas.errors import CheckError
from schemas.settings import Settings
from warehouse.layout import Warehouse
from warehouse.release import current_id, read_manifest
from warehouse.sqlite import open_immutable

ID = "20260104T020000Z"
SMALL_RATINGS = 150_000
ASKED, SECONDS, ROUNDS = 2_000, 2.0, 3


def measure(settings: Settings, *, ratings: int, steps: int, served: int) -> dict[str, Any]:
    """Seconds, rows and peak memory of the first steps; where they are all of them bytes of the release, and how it is served
    where `served` is not 0."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        started = time.monotonic()
        source = movielens_files(folder, ratings, settings.seed)
        figures: dict[str, Any] = {"n_processors": processors(), "generate_s": round(time.monotonic() - started, 1)}
        figures["csv_mib"] = round((source / "ratings.csv").stat().st_size / 2**20, 1)
        warehouse, small = Warehouse(folder / "warehouse"), Warehouse(folder / "small")
        try:
            figures |= _steps(warehouse, settings, STEPS[:steps], ["--source", "movielens", "--path", str(source)])
            if steps < len(STEPS):
                return figures
            figures |= _release(warehouse)
            if served:
                _steps(small, settings, STEPS, ["--source", "sample", "--scale", str(scale_of(SMALL_RATINGS))])
                figures |= served_figures(warehouse, small, folder)
            return figures
        finally:
            for built in (warehouse, small):
                remove(built.folder)  # sealed releases are read-only


def _steps(warehouse: Warehouse, settings: Settings, steps: Sequence[str], given: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for step in steps:
        flags = [*given, "--seed", str(settings.seed)] if step == "ingest" else []
        if step == "train":
            flags = ["--als-factors", "64"]
        if step != "promote":
            flags += ["--spark-master", settings.spark_master]
        step_figures = run_step(step, ["--release", ID, "--warehouse", str(warehouse.folder), *flags], warehouse.folder)
        print(json.dumps(step_figures), file=sys.stderr, flush=True)
        kept = {name: value for name, value in step_figures.items() if name.startswith("n_") or name.endswith(("_train_s", "_items_s"))}
        figures |= {f"{step}_s": step_figures["seconds_s"]} | kept
        if "peak_mib" in step_figures:
            figures[f"{step}_peak_mib"] = step_figures["peak_mib"]
    figures["steps_s"] = round(sum(figures[f"{step}_s"] for step in steps), 1)
    figures["peak_mib"] = max(figures[f"{step}_peak_mib"] for step in steps if f"{step}_peak_mib" in figures)
    return figures


def run_step(step: str, flags: list[str], folder: Path) -> dict[str, Any]:
    """One command in a process of its own; its figures, and what its start and end took beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder.parent / "figures.json"
    command = [sys.executable, "-m", "jobs.cli", step, *flags, "--json", str(target)]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # nosec B603  # no shell; our own command, on this machine
    took = time.monotonic() - started
    return json.loads(target.read_text()) | {"seconds_s": round(took, 2)}


def _release(warehouse: Warehouse) -> dict[str, Any]:
    """Bytes of what was sealed: a row of each large table in SQLite's pages, and the whole."""
    release = warehouse.sealed(ID)
    manifest = read_manifest(release)
    figures = {
        "release_mib": round(sum(file["bytes"] for file in manifest.files.values()) / 2**20, 1),
        "database_mib": round(release.database.stat().st_size / 2**20, 1),
        "n_parity_users": manifest.parity["n_users"],
        "n_same_lists": manifest.parity["n_same_lists"],
    }
    with closing(open_immutable(release.database)) as connection:
        for table in ("recommendations", "explanations", "ratings"):
            query = "select sum(pgsize) from dbstat where name = ? and aggregate = true"
            (n_bytes,) = connection.execute(query, [table]).fetchone()
            figures[f"{table}_row_bytes"] = round(n_bytes / max(manifest.counts[table], 1), 1)
    return figures


def served_figures(warehouse: Warehouse, small: Warehouse, folder: Path) -> dict[str, Any]:
    """Start, memory, and lists of 10 read for the first time, against the small release: in turn, medians."""
    with product_server(warehouse.folder, folder / "server.log") as server:
        with closing(server.wire()) as wire:
            status, body = wire.ask(_lists(warehouse)[0])
            took = time.monotonic() - server.started
            if status != 200 or len(json.loads(body)["rows"]) != 10:
                raise CheckError(f"the first lookup answered {status}: {body[:300]!r}")
        figures = {"start_to_first_answer_s": round(took, 3), "resident_idle_mib": round(server.resident_mib(), 1)}
        with product_server(small.folder, folder / "small.log") as other:
            rates: dict[str, list[float]] = {"lookup": [], "small_lookup": []}
            for number in range(ROUNDS):
                for side, asked, built in (("lookup", server, warehouse), ("small_lookup", other, small)):
                    lists = _lists(built)
                    rates[side].append(loaded(Plan(asked.address, partial(cycled, lists, number * 1_000), SECONDS)).per_s)
        figures |= {f"{side}_per_s": round(sorted(values)[len(values) // 2], 1) for side, values in rates.items()}
        figures["lookup_to_small_ratio"] = round(figures["lookup_per_s"] / figures["small_lookup_per_s"], 3)
        return figures | {"resident_loaded_mib": round(server.resident_mib(), 1)}


def _lists(warehouse: Warehouse) -> tuple[bytes, ...]:
    """Requests of the lists of users drawn at random, as many of either release, so that as many are read for the first time."""
    with closing(open_immutable(warehouse.sealed(current_id(warehouse) or ID).database)) as connection:
        users = [row[0] for row in connection.execute("select user_id from users")]
    drawn = random.Random(1).sample(users, min(ASKED, len(users)))  # nosec B311  # a draw that anybody may repeat, not a secret
    return tuple(request("GET", f"/recommend/{user}?n=10") for user in drawn)
