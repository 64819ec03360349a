"""Swaps of the promoted release under load: errors, answers that mix two, seconds until the new one answers."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any, NamedTuple

from jobs.bench.generated_release import FIRST, SECOND
from jobs.bench.load import Loading, Outcome, Plan
from jobs.bench.requests import lookup
from jobs.bench.server import Server
from warehouse import promotion
from warehouse.layout import Warehouse

SETTLE_S, MOST_S = 1.5, 600.0
MIXED = "mixed"
ROWS = 10


class Moved(NamedTuple):
    """A release that was made current, and when the command began and was done (time.monotonic)."""

    target: str
    began_at: float
    done_at: float


def edition(index: int, body: bytes) -> str:
    """The release that an answer names, or MIXED: every title ends with the id of the release that it was read from."""
    for name, other in ((FIRST, SECOND), (SECOND, FIRST)):
        if body.startswith(b'{"ok":true,"release":"' + name.encode()):
            return name if body.count(f"({name})".encode()) >= ROWS and f"({other})".encode() not in body else MIXED
    return MIXED


def measure_swaps(server: Server, warehouse: Warehouse, *, users: int, swaps: int) -> dict[str, Any]:
    """Promote and roll back in turn under 16 connections of lookups. Seconds count from when the command was done."""
    moved: list[Moved] = []
    plan = Plan(server.address, partial(lookup, users, 0), MOST_S, observe=edition)
    with Loading(plan) as loading:
        loading.wait_begun()
        time.sleep(SETTLE_S)
        for number in range(swaps):
            began_at = time.monotonic()
            if number % 2:
                promotion.rollback(warehouse)
            else:
                promotion.promote(warehouse, SECOND, reason="generated to be measured")
            moved.append(Moved(FIRST if number % 2 else SECOND, began_at, time.monotonic()))
            time.sleep(SETTLE_S)
        loading.stop()
        outcome = loading.outcome()
    return swap_figures(outcome, moved)


def swap_figures(outcome: Outcome, moved: list[Moved]) -> dict[str, Any]:
    """Sum up the swaps from the answers: how many, how long, and what went wrong (the keys of `bench serve`)."""
    seconds, n_missed, n_older = [], 0, 0
    ends = [one.began_at for one in moved[1:]] + [float("inf")]
    for one, end in zip(moved, ends):
        # The pointer moves inside the command, so the new release may answer a moment before the command is done. What
        # was asked before the command began proves nothing: it may be an answer of the release before, still under way.
        answers = [answer for answer in outcome.observed if one.began_at <= answer.sent_at < end]
        first = next((answer for answer in answers if answer.value == one.target), None)
        if first is None:
            n_missed += 1
            continue
        seconds.append(max(first.done_at - one.done_at, 0.0))
        n_older += sum(answer.value != one.target and first.done_at < answer.sent_at for answer in answers)
    return {
        "n_swaps": len(moved),
        "n_swap_requests": outcome.n,
        "n_swap_errors": outcome.n_errors,
        "n_mixed_answers": sum(one.value == MIXED for one in outcome.observed),
        "n_older_after_newer": n_older,
        "n_swaps_missed": n_missed,
        "swap_median_s": round(statistics.median(seconds), 3) if seconds else None,
        "swap_max_s": round(max(seconds), 3) if seconds else None,
        "swap_lookup_p99_ms": round(outcome.ms(99), 3),
    }
