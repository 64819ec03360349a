"""bench serve --beside: how long lookups wait beside what strangers may ask, against how long they wait without.

A probe asks for lists at a fixed rate, first alone and then beside three clients that send one kind of request as fast as they are
answered; a request of the probe that was due while no connection was free counts from then. All clients run on this machine, so
that on few processors they take a share of what they measure.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from jobs.bench import requests
from jobs.bench.load import drive, loaded, Loading, Outcome, Plan
from jobs.bench.server import Server
from jobs.bench.wire import request
from jobs.machine.progress import Progress
from schemas.errors import SettingError

ATTACKERS, PROBE_PER_S = 3, 150
LONGEST_S = 600.0  # it is stopped when the probe has ended
ALL = "all"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WIDE = "with recursive c(x) as (select 1 union all select x + 1 from c limit 1000) select x, hex(zeroblob(50000)) as wide from c"
ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"


def _sql(text: str) -> bytes:
    return request("GET", f"/cinematch.json?sql={quote(text)}")


def _session(rows: int, n: int) -> bytes:
    body = json.dumps({"ratings": [{"item_id": 3 * i + 1, "rating": 3.5} for i in range(rows)]})
    return request("POST", f"/recommend/session?n={n}", body.encode())


def _excluding(n: int) -> bytes:
    return request("GET", f"/recommend/1?exclude={','.join(str(3 * i + 1) for i in range(n))}")


def _page(target: str) -> bytes:
    return request("GET", target).replace(b"accept: application/json", b"accept: text/html")


ATTACKS: dict[str, tuple[str, Sequence[bytes]]] = {
    "search": ("a thousand titles by one letter", [request("GET", "/search?q=a&n=1000")]),
    "search_letters": ("a hundred words of one letter", [request("GET", f"/search?q={'+'.join((LETTERS * 4)[:100])}")]),
    "search_repeated": ("66 times the same word", [request("GET", f"/search?q={'+'.join('a' * 66)}")]),
    "exclude": ("60 kB of ids to leave out", [_excluding(10_000)]),
    "exclude_most": ("as many ids to leave out as are taken", [_excluding(1000)]),
    "session": ("a visitor with 1 MiB of rows", [_session(25_000, 10)]),
    "session_most": ("a visitor with as many rows, and as long a list, as may be", [_session(1000, 1000)]),
    "sql_wide": ("a thousand rows of 100 kB", [_sql(WIDE)]),
    "sql_blob": ("a value of 400 MB", [_sql("select length(hex(randomblob(2e8)))")]),
    "sql_endless": ("a recursion without an end", [_sql(ENDLESS)]),
    "table": ("a thousand rows of a table, with labels", [request("GET", "/cinematch/recommendations.json?_size=max&_labels=on")]),
    "facets": ("a page with three facets", [_page("/cinematch/items?_facet=genres&_facet=year&_facet=n_ratings")]),
    "csv": ("a table as CSV, whole", [request("GET", "/cinematch/popular.csv?_stream=1")]),
    "page": ("a list of a thousand as a page", [_page("/recommend/1?n=1000")]),
    "popular": ("the longest popular list", [request("GET", "/popular?n=1000")]),
    "openapi": ("the description of all routes", [request("GET", "/openapi.json")]),
}


def chosen(name: str) -> list[str]:
    """The attacks that a name stands for. Raises SettingError if it stands for none."""
    if name == ALL:
        return list(ATTACKS)
    if name not in ATTACKS:
        raise SettingError(f"--beside: {name!r}: expected {ALL} or one of {', '.join(ATTACKS)}")
    return [name]


def measure_beside(server: Server, names: Sequence[str], *, users: int, seconds: int, repeats: int) -> dict[str, Any]:
    """For each attack the p99 of the probe with and without it, medians of the repeats, and their ratio."""
    figures: dict[str, Any] = {"n_attackers": ATTACKERS, "probe_per_s": PROBE_PER_S}
    probe = Plan(server.address, partial(requests.lookup, users, 0), seconds, per_s=PROBE_PER_S)
    loaded(Plan(server.address, partial(requests.lookup, users, 0), 0.5))
    with Progress("bench beside", total=len(names) * repeats, unit="runs") as progress:
        for name in names:
            attack = Plan(server.address, partial(requests.cycled, ATTACKS[name][1], 0), LONGEST_S, connections=ATTACKERS)
            drive(Plan(server.address, attack.ask, 1, connections=1, at_most=1))  # what it starts is started
            quiet, beside, statuses, n_errors = [], [], set(), 0
            for _ in range(repeats):
                alone = loaded(probe)
                with Loading(attack) as loading:
                    loading.wait_begun()
                    under = loaded(probe)
                    loading.stop()
                    attackers = loading.outcome()
                quiet.append(alone)
                beside.append(under)
                statuses |= set(attackers.statuses)
                n_errors += alone.n_errors + under.n_errors
                progress.add(1)
            figures |= _figures(name, quiet, beside) | {
                f"{name}_n_errors": n_errors,
                f"{name}_statuses": ", ".join(map(str, sorted(statuses))),
            }
    ratios = {name: figures[f"{name}_p99_ratio"] for name in names}
    worst = max(ratios, key=lambda name: ratios[name])
    return figures | {"worst_beside": worst, "worst_p99_ratio": ratios[worst]}


def _figures(name: str, quiet: Sequence[Outcome], beside: Sequence[Outcome]) -> dict[str, float]:
    without, under = (statistics.median(outcome.ms(99) for outcome in side) for side in (quiet, beside))
    return {
        f"{name}_without_p99_ms": round(without, 3),
        f"{name}_p99_ms": round(under, 3),
        f"{name}_p99_ratio": round(under / without, 2) if without else 0.0,
    }
