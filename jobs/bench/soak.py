"""bench soak: everything at once for a long time: whether anything grows, gets slower, fails or is lost.

Two servers share one warehouse. One stays: its memory and descriptors are watched, and their slopes are of a straight line through
what was seen after the first tenth. The other is killed again and again under load and started anew. Both get the same mix of
lookups, reasons, searches, sessions, ratings, deletions and SQL at a steady rate, while releases are promoted and rolled back. At
the end both are killed, and every write that either acknowledged is looked for in overlay.db.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jobs.bench import requests
from jobs.bench.generated_release import generate, remove, SECOND, second_edition
from jobs.bench.load import Loading, Observed, Outcome, Plan
from jobs.bench.mixed import KINDS, Mixed
from jobs.bench.serve import stored_pairs
from jobs.bench.server import product_server, Server
from jobs.bench.swaps import MIXED
from jobs.bench.updates import WRITE_RATE
from jobs.machine.progress import processors, Progress
from schemas.errors import CheckError, SettingError
from schemas.settings import Settings
from warehouse import overlay, promotion
from warehouse.layout import Warehouse

LOOK_S, SETTLED = 1.0, 0.1
APART = 10_000_019  # numbers between the loads, so that each rates pairs of its own
CONNECTIONS = 8

Entry = tuple[int, int, float, bool]


class Seen(NamedTuple):
    """Figures of the server that stays, after so many seconds."""

    after_s: float
    resident_mib: float
    beside_mib: float
    descriptors: int


class Load:
    """A mix of requests being sent to one server, and what it acknowledged."""

    def __init__(self, server: Server, mixed: Mixed, *, seconds: float, rate: float) -> None:
        self.server, self._mixed = server, mixed
        plan = Plan(server.address, mixed.ask, seconds, connections=CONNECTIONS, per_s=rate, observe=mixed.keep)
        self._loading = Loading(plan)

    def __enter__(self) -> Load:
        self._loading.wait_begun()
        return self

    def __exit__(self, *problem: object) -> None:
        self._loading.__exit__(*problem)

    def stop(self) -> None:
        self._loading.stop()

    def outcome(self) -> Outcome:
        return self._loading.outcome()

    def acknowledged(self, observed: Sequence[Observed]) -> dict[int, Entry]:
        """Each write that was answered, by its sequence number."""
        return {one.value.sequence: self._mixed.entry(one.index) for one in observed if one.value.sequence is not None}


def measure(settings: Settings, *, minutes: float, users: int, items: int, rate: int, swaps: int, kills: int) -> dict[str, Any]:
    """Generate two releases, serve them twice, load, swap and kill; everything is in a temporary folder that is removed."""
    seconds = minutes * 60
    if seconds <= 0 or rate < 2 or swaps < 0 or kills < 0:
        raise SettingError(
            f"bench soak: expected some minutes, a rate of at least 2, no negative numbers, got {minutes}, {rate}, {swaps}, {kills}"
        )
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        warehouse, key = Warehouse(folder / "warehouse"), secrets.token_urlsafe(32)
        flags = ("--api-key-hashes", hashlib.sha256(key.encode()).hexdigest(), "--write-rate", str(WRITE_RATE))
        try:
            release = generate(warehouse, users=users, items=items, seed=settings.seed)
            second_edition(warehouse)
            pairs = stored_pairs(release, users)
            loads = (Mixed(users, items, key, number * APART, pairs) for number in range(kills + 2))
            figures = {"n_users": users, "n_items": items, "n_processors": processors(), "rate_per_s": rate}
            with ExitStack() as running:
                stays = running.enter_context(product_server(warehouse.folder, folder / "stays.log", *flags))
                first = running.enter_context(Load(stays, next(loads), seconds=seconds, rate=rate))
                second = Killed(warehouse, folder, flags, loads, seconds=seconds, rate=rate / 2)
                running.enter_context(second)
                seen, n_swaps = _watched(warehouse, stays, second, seconds=seconds, swaps=swaps, kills=kills)
                outcome = first.outcome()
                second.end()
                stays.process.kill()  # what was acknowledged must not need a farewell
                stays.process.wait()
            acknowledged = second.acknowledged | first.acknowledged(outcome.observed)
            return (
                figures
                | _answers([outcome, *second.outcomes])
                | {"n_unanswered": outcome.n_broken, "n_swaps": n_swaps}
                | second.figures()
                | {"n_acknowledged": len(acknowledged), "n_acknowledged_missing": _missing(warehouse, acknowledged)}
                | _growth(seen)
                | {"soak_s": round(outcome.seconds, 1), "load_average_1_min": round(os.getloadavg()[0], 2)}
            )
        finally:
            remove(warehouse.folder)


class Killed:
    """The second server under load: killed and started again whenever `kill` is called."""

    def __init__(
        self, warehouse: Warehouse, folder: Path, flags: Sequence[str], loads: Iterator[Mixed], *, seconds: float, rate: float
    ) -> None:
        self._warehouse, self._folder, self._flags, self._loads = warehouse, folder, flags, loads
        self._seconds, self._rate = seconds, rate
        self.outcomes: list[Outcome] = []
        self.acknowledged: dict[int, Entry] = {}
        self._starts_s: list[float] = []
        self._stack = ExitStack()

    def __enter__(self) -> Killed:
        self._start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.__exit__(*problem)

    def _start(self) -> None:
        server = self._stack.enter_context(product_server(self._warehouse.folder, self._folder / "killed.log", *self._flags))
        with closing(server.wire()) as wire:
            status, body = wire.ask(requests.lookup(1, 0, 0))
        if status != 200:
            raise CheckError(f"a server that was just started answered {status}: {body[:300]!r}")
        self._starts_s.append(time.monotonic() - server.started)
        self._load = self._stack.enter_context(Load(server, next(self._loads), seconds=self._seconds, rate=self._rate))

    def kill(self) -> None:
        """SIGKILL under load, and a new one."""
        self._end()
        self._start()

    def end(self) -> None:
        self._end()
        self._stack.close()

    def _end(self) -> None:
        self._load.server.process.kill()
        self._load.server.process.wait()
        outcome = self._load.outcome()
        self.outcomes.append(outcome)
        self.acknowledged |= self._load.acknowledged(outcome.observed)
        self._stack.close()

    def figures(self) -> dict[str, Any]:
        return {
            "n_kills": len(self.outcomes),
            "n_cut_by_kills": sum(outcome.n_broken for outcome in self.outcomes),
            "start_to_first_answer_max_s": round(max(self._starts_s), 3),
        }


def _watched(warehouse: Warehouse, stays: Server, second: Killed, *, seconds: float, swaps: int, kills: int) -> tuple[list[Seen], int]:
    """Swap and kill at even distances until the time is up, looking at the server that stays meanwhile."""
    started, seen, swapped, killed = time.monotonic(), [], 0, 0
    with Progress("bench soak", total=round(seconds), unit="s") as progress:
        while (after := time.monotonic() - started) < seconds:
            seen.append(Seen(after, stays.resident_mib(), stays.beside_mib(), stays.descriptors()))
            if after > (swapped + 1) * seconds / (swaps + 1):
                if swapped % 2:
                    promotion.rollback(warehouse)
                else:
                    promotion.promote(warehouse, SECOND, reason="generated to be measured")
                swapped += 1
            if after > (killed + 1) * seconds / (kills + 1):
                second.kill()
                killed += 1
            progress.at(round(after))
            time.sleep(max(min(LOOK_S, seconds / 20, seconds - after), 0.01))
    return seen, swapped


def _answers(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Statuses and latencies of both servers' answers together."""
    statuses = sum((outcome.statuses for outcome in outcomes), Counter())
    observed = [one for outcome in outcomes for one in outcome.observed]
    figures: dict[str, Any] = {
        "n_requests": statuses.total(),
        "n_5xx": sum(n for status, n in statuses.items() if status >= 500),
        "n_4xx": sum(n for status, n in statuses.items() if 400 <= status < 500),
        "n_mixed_answers": sum(one.value.release == MIXED for one in observed),
    }
    for kind in KINDS:
        taken = sorted(one.done_at - one.sent_at for one in observed if one.value.kind == kind)
        figures[f"n_{kind}"] = len(taken)
        for percent in (50, 99):
            figures[f"{kind}_p{percent}_ms"] = round(taken[min(len(taken) * percent // 100, len(taken) - 1)] * 1e3, 3) if taken else 0.0
    return figures


def _growth(seen: Sequence[Seen]) -> dict[str, float]:
    """Start, end and slope of what a leak would show in, once the server has settled."""
    settled = seen[int(len(seen) * SETTLED) :]
    edge = max(len(settled) // 10, 1)
    hours = np.array([one.after_s for one in settled]) / 3600
    figures = {}
    for name, unit in (("resident", "mib"), ("beside", "mib"), ("descriptors", "")):
        values = [getattr(one, f"{name}_{unit}" if unit else name) for one in settled]
        slope = np.polyfit(hours - hours.mean(), values, 1)[0] if len(settled) > 1 else 0.0
        end = f"_{unit}" if unit else ""
        figures[f"{name}_start{end}"] = round(statistics.median(values[:edge]), 1)
        figures[f"{name}_end{end}"] = round(statistics.median(values[-edge:]), 1)
        figures[f"{name}_slope{end}_per_h"] = round(float(slope), 2)
    return figures


def _missing(warehouse: Warehouse, acknowledged: dict[int, Entry]) -> int:
    """Count the acknowledged writes that are not in overlay.db as they were sent."""
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        rows = connection.execute("select seq, user_id, item_id, rating, is_deleted from ratings")
        stored = {seq: (user, item, None if is_deleted else rating, bool(is_deleted)) for seq, user, item, rating, is_deleted in rows}
    return sum(
        stored.get(seq) != (user, item, None if is_deleted else rating, is_deleted)
        for seq, (user, item, rating, is_deleted) in acknowledged.items()
    )
