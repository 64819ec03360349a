"""bench updates: ratings posted to a real server: how soon they count, how many are durable, and that none is lost.

First one by one, each read back; then as many as 16 connections can post, alone; then at a steady rate, while lookups
go on at a steady rate of their own: latencies count from when a request was due. The other side of the comparison is
one transaction a rating in the same kind of file, without a server: what a disk allows that is asked for every rating.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench import requests
from jobs.bench.generated_release import generate, remove
from jobs.bench.generated_rows import RATINGS
from jobs.bench.generated_sides import FACTORS, SERVED
from jobs.bench.load import loaded, Loading, Observed, Outcome, Plan
from jobs.bench.server import product_server, Server
from jobs.bench.wire import Wire
from jobs.machine.progress import processors, Progress
from schemas.errors import CheckError
from schemas.settings import Settings
from warehouse import overlay
from warehouse.layout import Warehouse
from warehouse.overlay import Entry

PROBE_OFFSET, BURST_OFFSET, LOOKUP_OFFSET = 500_000_009, 200_000_003, 800_000_011  # of users each by their own
COMMITS_S = 1.0
WRITE_RATE = 1_000_000  # the limit of one key is for clients that do harm; here it would only measure itself


def measure(
    settings: Settings, *, users: int, items: int, probes: int, burst: int, seconds: int, rate: int, lookups: int
) -> dict[str, Any]:
    """Generate a release, serve it, post; everything is in a temporary folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        warehouse, key = Warehouse(folder / "warehouse"), secrets.token_urlsafe(32)
        flags = ("--api-key-hashes", hashlib.sha256(key.encode()).hexdigest(), "--write-rate", str(WRITE_RATE))
        try:
            generate(warehouse, users=users, items=items, seed=settings.seed)
            figures = {
                "n_users": users,
                "n_items": items,
                "n_factors": FACTORS,
                "n_history": RATINGS,
                "served_model": SERVED,
                "n_processors": processors(),
                "one_commit_each_per_s": round(_one_commit_each(folder / "alone.db"), 1),
            }
            with product_server(warehouse.folder, folder / "server.log", *flags) as server:
                visible, acknowledged = _visible(server, key, users=users, probes=probes)
                fastest, more = _burst(server, partial(requests.pair, users, items, BURST_OFFSET), key, seconds=burst)
                acknowledged |= more
                pair, get = partial(requests.pair, users, items, 0), partial(requests.lookup, users, LOOKUP_OFFSET)
                sustained, more = _sustained(server, pair, key, get, seconds=seconds, rate=rate, lookups=lookups)
                figures |= visible | fastest | sustained | {"resident_mib": round(server.resident_mib(), 1)}
                server.process.kill()  # what was acknowledged must not need a farewell
                server.process.wait()
            acknowledged |= more
            figures |= {
                "n_acknowledged": len(acknowledged),
                "n_acknowledged_missing": _missing(warehouse, acknowledged),
            }
            ratio = figures["burst_ratings_per_s"] / figures["one_commit_each_per_s"]
            return figures | {
                "burst_to_one_commit_each_ratio": round(ratio, 3),
                "load_average_1_min": round(os.getloadavg()[0], 2),
            }
        finally:
            remove(warehouse.folder)


def _one_commit_each(path: Path) -> float:
    """Ratings a second that one transaction each makes durable."""
    with closing(overlay.create(path)) as connection:
        n, started = 0, time.monotonic()
        while time.monotonic() - started < COMMITS_S:
            connection.execute("begin immediate")
            overlay.append(connection, Entry(0, n, n, 3.0, 1.0, n, n))
            connection.execute("commit")
            n += 1
        return n / (time.monotonic() - started)


Acknowledged = dict[int, tuple[int, int, float]]


def _visible(server: Server, key: str, *, users: int, probes: int) -> tuple[dict[str, Any], Acknowledged]:
    """From sending a rating of the first item of a user's list to having the next list, over another connection."""
    outcome, acknowledged, n_unchanged = Outcome(), {}, 0
    with (
        closing(server.wire()) as writing,
        closing(server.wire()) as reading,
        Progress("bench updates", total=probes, unit="ratings") as progress,
    ):
        for index in range(probes):
            get = requests.lookup(users, PROBE_OFFSET, index)
            user = requests.scattered(index + PROBE_OFFSET, users) + 1
            before = [row["item_id"] for row in _answer(reading, get)["rows"]]
            post = requests.one_rating(user, before[0], 5.0, key)
            sent_at = time.monotonic()
            written = _answer(writing, post)
            after = _answer(reading, get)
            outcome.latencies_s.append(time.monotonic() - sent_at)
            n_unchanged += before[0] in [row["item_id"] for row in after["rows"]]
            acknowledged[written["sequence"]] = (user, before[0], 5.0)
            progress.add(1)
    return {
        "n_probes": probes,
        "post_to_visible_p50_ms": round(outcome.ms(50), 3),
        "post_to_visible_p99_ms": round(outcome.ms(99), 3),
        "n_not_visible": n_unchanged,
    }, acknowledged


def _answer(wire: Wire, raw: bytes) -> dict[str, Any]:
    status, body = wire.ask(raw)
    if status != 200:
        raise CheckError(f"{raw.split(b' HTTP', 1)[0].decode()} answered {status}: {body[:300]!r}")
    return json.loads(body)


def sequence(index: int, body: bytes) -> int | None:
    """The sequence number that a POST was answered with."""
    return json.loads(body).get("sequence")


Pair = Callable[[int], tuple[int, int, float]]


def _burst(server: Server, pair: Pair, key: str, *, seconds: int) -> tuple[dict[str, Any], Acknowledged]:
    """Single ratings from 16 connections without a pause, and nothing beside them."""
    cpu = server.cpu_s()
    written = loaded(Plan(server.address, partial(requests.rating, pair, key), seconds, observe=sequence))
    cpu = server.cpu_s() - cpu
    return {
        "burst_n_ratings": written.n,
        "burst_rating_errors": written.n_errors,
        "burst_ratings_per_s": round(written.per_s, 1),
        "burst_rating_p99_ms": round(written.ms(99), 3),
        "burst_rating_cpu_us": round(cpu / max(written.n, 1) * 1e6, 1),
    }, _of(written.observed, pair)


def _sustained(
    server: Server, pair: Pair, key: str, get: Callable[[int], bytes], *, seconds: int, rate: int, lookups: int
) -> tuple[dict[str, Any], Acknowledged]:
    """Single ratings and lookups of any users at steady rates, from 16 connections each."""
    writing = Plan(server.address, partial(requests.rating, pair, key), seconds, per_s=float(rate), observe=sequence)
    reading = Plan(server.address, get, seconds, per_s=float(lookups))
    cpu = server.cpu_s()
    with Loading(reading) as readers, Loading(writing) as writers:
        readers.wait_begun()
        writers.wait_begun()
        written, read = writers.outcome(), readers.outcome()
    cpu = server.cpu_s() - cpu
    return {
        "sustained_s": round(written.seconds, 3),
        "n_ratings": written.n,
        "n_rating_errors": written.n_errors,
        "ratings_per_s": round(written.per_s, 1),
        "rating_p50_ms": round(written.ms(50), 3),
        "rating_p99_ms": round(written.ms(99), 3),
        "n_lookups": read.n,
        "n_lookup_errors": read.n_errors,
        "lookups_per_s": round(read.per_s, 1),
        "lookup_p50_ms": round(read.ms(50), 3),
        "lookup_p99_ms": round(read.ms(99), 3),
        "server_cpu_ratio": round(cpu / written.seconds, 3),
    }, _of(written.observed, pair)


def _of(observed: list[Observed], pair: Pair) -> Acknowledged:
    return {one.value: pair(one.index) for one in observed}


def _missing(warehouse: Warehouse, acknowledged: Acknowledged) -> int:
    """Count the acknowledged ratings that are not in overlay.db as they were sent."""
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        stored = {row[0]: row[1:] for row in connection.execute("select seq, user_id, item_id, rating from ratings")}
    return sum(stored.get(seq) != sent for seq, sent in acknowledged.items())
