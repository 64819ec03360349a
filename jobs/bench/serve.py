"""bench serve: a real server on a generated release, against a canned query of the same content and an empty answer.

`workers` are the lookups of a server of two processes, `unchanged` those of clients that have the list already (304).
Rates are of 16 connections from a client in a process of its own; on few processors that client takes a share of the
machine. CPU microseconds are of the server's process alone, so they do not depend on the client. A ratio of CPU is one
of requests a CPU second, so it reads as a ratio of rates does: more is better for the side named first.
`client_limit_per_s` is what the client could ask for if it had a processor of its own: requests a second of its own
CPU, of empty answers.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench import requests
from jobs.bench.beside import chosen, measure_beside
from jobs.bench.generated_release import generate, remove, second_edition
from jobs.bench.generated_rows import EXPLAINED
from jobs.bench.generated_sides import FACTORS, SERVED
from jobs.bench.load import loaded, Plan
from jobs.bench.server import empty_server, product_server, Server
from jobs.bench.swaps import measure_swaps
from jobs.bench.wire import request
from jobs.machine.progress import processors, Progress
from schemas.errors import CheckError
from schemas.settings import Settings
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import open_immutable

PAIRS, PROBED, WARM_S = 20_000, 50, 0.5
WORKERS = 2


def measure(settings: Settings, *, users: int, items: int, seconds: int, repeats: int, swaps: int, beside: str = "") -> dict[str, Any]:
    """Generate two releases, serve them, ask; everything is in a temporary folder that is removed. With `beside` only the waiting
    of lookups beside what others ask is measured."""
    attacks = chosen(beside) if beside else []
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        warehouse = Warehouse(folder / "warehouse")
        try:
            started = time.monotonic()
            release = generate(warehouse, users=users, items=items, seed=settings.seed)
            second_edition(warehouse)
            figures = {
                "n_users": users,
                "n_items": items,
                "n_factors": FACTORS,
                "served_model": SERVED,
                "n_processors": processors(),
                "generate_s": round(time.monotonic() - started, 1),
                "database_mib": round(release.database.stat().st_size / 2**20, 1),
            }
            with (
                product_server(warehouse.folder, folder / "server.log") as server,
                empty_server(folder / "empty.log") as empty,
            ):
                figures |= _first_answer(server)
                if attacks:
                    measured = measure_beside(server, attacks, users=users, seconds=seconds, repeats=repeats)
                    return figures | measured | {"load_average_1_min": round(os.getloadavg()[0], 2)}
                _probe(server, users)
                with product_server(warehouse.folder, folder / "workers.log", "--workers", str(WORKERS)) as several:
                    several.count_workers(WORKERS)
                    figures |= _rates(server, several, empty, release, users=users, seconds=seconds, repeats=repeats)
                figures["resident_loaded_mib"] = round(server.resident_mib(), 1)
                figures |= measure_swaps(server, warehouse, users=users, swaps=swaps)
                figures["resident_after_swaps_mib"] = round(server.resident_mib(), 1)
            return figures | {"load_average_1_min": round(os.getloadavg()[0], 2)}
        finally:
            remove(warehouse.folder)


def _first_answer(server: Server) -> dict[str, float]:
    """Seconds from the start of the process to a whole list, and memory then."""
    with closing(server.wire()) as wire:
        status, body = wire.ask(request("GET", "/recommend/1?n=10"))
        took = time.monotonic() - server.started
    if status != 200 or len(json.loads(body)["rows"]) != 10:
        raise CheckError(f"the first lookup answered {status}: {body[:300]!r}")
    return {"start_to_first_answer_s": round(took, 3), "resident_idle_mib": round(server.resident_mib(), 1)}


def _probe(server: Server, users: int) -> None:
    """Raise CheckError unless a lookup and the canned query say the same of some users."""
    with closing(server.wire()) as wire:
        for index in range(PROBED):
            answers = [wire.ask(make(users, 0, index)) for make in (requests.lookup, requests.canned)]
            if [status for status, _ in answers] != [200, 200]:
                raise CheckError(f"a lookup and its query answered {answers!r:.500}")
            ours, theirs = json.loads(answers[0][1])["rows"], json.loads(answers[1][1])
            theirs = [row | {"reasons": json.loads(row["reasons"])} for row in theirs]
            if len(ours) != 10 or not _is_same(ours, theirs):
                raise CheckError(f"a lookup and its query differ: {ours!r:.300} and {theirs!r:.300}")


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two texts are the same JSON, numbers to nine digits."""
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, (int, float)) and isinstance(other, (int, float)) and math.isclose(one, other, rel_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other


def _rates(server: Server, several: Server, empty: Server, release: Release, *, users: int, seconds: int, repeats: int) -> dict[str, Any]:
    """Each side in turn, `repeats` times over; medians."""
    pairs = stored_pairs(release, users)
    sides: dict[str, tuple[Server, Callable[..., bytes]]] = {
        "lookup": (server, partial(requests.lookup, users)),
        "unchanged": (server, partial(requests.unchanged, users, release.id)),
        "workers": (several, partial(requests.lookup, users)),
        "why": (server, partial(requests.cycled, pairs)),
        "canned": (server, partial(requests.canned, users)),
        "canned_list": (server, partial(requests.listed, users)),
        "empty": (empty, _without_offset),
    }
    samples: dict[str, list[float]] = defaultdict(list)
    n_errors = n_requests = 0
    with Progress("bench serve", total=repeats * len(sides), unit="runs") as progress:
        for number in range(repeats):
            for name, (asked, make) in sides.items():
                ask = partial(make, number * 1_000_003)
                loaded(Plan(asked.address, partial(make, 999_999_937), WARM_S))
                cpu = asked.cpu_s()
                outcome = loaded(Plan(asked.address, ask, seconds))
                cpu = asked.cpu_s() - cpu
                n_errors, n_requests = n_errors + outcome.n_errors, n_requests + outcome.n
                n = max(outcome.n, 1)
                samples[f"{name}_per_s"].append(outcome.per_s)
                samples[f"{name}_p50_ms"].append(outcome.ms(50))
                samples[f"{name}_p99_ms"].append(outcome.ms(99))
                samples[f"{name}_cpu_us"].append(cpu / n * 1e6)
                if name == "empty":
                    samples["client_limit_per_s"].append(n / max(outcome.client_cpu_s, 1e-6))
                progress.add(1)
    medians = {
        name: round(statistics.median(values), 1 if name.endswith("_s") and not name.endswith("ms") else 3)
        for name, values in samples.items()
    }
    return medians | {"n_requests": n_requests, "n_errors": n_errors} | _ratios(medians)


def _ratios(medians: dict[str, float]) -> dict[str, float]:
    ratios = {}
    for ours in ("lookup", "why"):
        for other in ("canned", "canned_list", "empty"):
            ratios[f"{ours}_to_{other}_ratio"] = _quotient(medians[f"{ours}_per_s"], medians[f"{other}_per_s"])
            ratios[f"{ours}_to_{other}_cpu_ratio"] = _quotient(medians[f"{other}_cpu_us"], medians[f"{ours}_cpu_us"])
    ratios["workers_to_lookup_ratio"] = _quotient(medians["workers_per_s"], medians["lookup_per_s"])
    ratios["workers_to_lookup_cpu_ratio"] = _quotient(medians["lookup_cpu_us"], medians["workers_cpu_us"])
    return ratios


def _quotient(one: float, other: float) -> float | None:
    return round(one / other, 3) if other else None


def _without_offset(offset: int, index: int) -> bytes:
    return requests.empty(index)


def stored_pairs(release: Release, users: int) -> tuple[bytes, ...]:
    """Requests of /why for random rows that have stored reasons."""
    drawn = random.Random(1)  # nosec B311  # a draw that anybody may repeat, not a secret
    with closing(open_immutable(release.database)) as connection:
        rows = [
            connection.execute(
                "select user_id, item_id from recommendations where user_id = ? and rank = ?",
                (drawn.randint(1, users), drawn.randint(1, EXPLAINED)),
            ).fetchone()
            for _ in range(min(PAIRS, users * EXPLAINED))
        ]
    return tuple(request("GET", f"/why/{user}/{item}") for user, item in rows)
