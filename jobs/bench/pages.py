"""bench pages: what each page costs the server, on a generated release: milliseconds until it is there, and kilobytes.

A page is asked on one connection, for other users and items each time, with nothing else going on. The first of each kind reads what is on
disk, and has a figure of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from jobs.bench.generated_release import generate, remove, second_edition
from jobs.bench.requests import scattered
from jobs.bench.server import product_server
from jobs.bench.wire import request, Wire
from jobs.machine.progress import processors, Progress
from schemas.errors import CheckError
from schemas.settings import Settings
from warehouse.layout import Warehouse

LATE_S = 60.0
AS_BROWSERS = b"accept: text/html"
Page = Callable[[int, int], str]


def measure(settings: Settings, *, users: int, items: int, repeats: int) -> dict[str, Any]:
    """Generate two releases, serve them, ask for every page; everything is in a temporary folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        warehouse = Warehouse(folder / "warehouse")
        try:
            release = generate(warehouse, users=users, items=items, seed=settings.seed)
            second = second_edition(warehouse)
            figures: dict[str, Any] = {"n_users": users, "n_items": items, "n_processors": processors()}
            with product_server(warehouse.folder, folder / "server.log") as server, closing(server.wire()) as wire:
                wire.socket.settimeout(LATE_S)
                figures |= _asked(wire, pages(release.id, second.id), users=users, items=items, repeats=repeats)
            return figures | {"load_average_1_min": round(os.getloadavg()[0], 2)}
        finally:
            remove(warehouse.folder)


def pages(first: str, second: str) -> dict[str, Page]:
    """Pages by name, as the address that each has for a user and an item; but for that of metrics, of which a generated release has none."""
    return {
        "home": lambda user, item: "/",
        "recommend": lambda user, item: f"/recommend/{user}",
        "recommend_100": lambda user, item: f"/recommend/{user}?n=100",
        "recommend_genre": lambda user, item: f"/recommend/{user}?genre=Drama",
        "why": lambda user, item: f"/why/{user}/{item}",
        "why_without": lambda user, item: f"/why/{user}/{item}?without=1",
        "ratings": lambda user, item: f"/ratings/{user}",
        "explore": lambda user, item: f"/explore?user_id={user}",
        "playground": lambda user, item: f"/playground?rated={item}:5",
        "item": lambda user, item: f"/items/{item}",
        "similar": lambda user, item: f"/similar/{item}",
        "similar_set": lambda user, item: f"/similar?items={item},1",
        "predict": lambda user, item: f"/predict/{user}/{item}",
        "genres": lambda user, item: "/genres",
        "popular": lambda user, item: "/popular",
        "search": lambda user, item: f"/search?q={item}",
        "analytics": lambda user, item: "/analytics",
        "data": lambda user, item: "/data",
        "runs": lambda user, item: "/runs",
        "releases": lambda user, item: "/releases",
        "release": lambda user, item: f"/releases/{first}",
        "compare": lambda user, item: f"/releases/compare?a={first}&b={second}",
        "api": lambda user, item: "/api",
    }


def _asked(wire: Wire, named: dict[str, Page], *, users: int, items: int, repeats: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    with Progress("bench pages", total=len(named), unit="pages") as progress:
        for name, address in named.items():
            waited, sizes = [], []
            for index in range(repeats + 1):
                target = address(scattered(index, users) + 1, scattered(index, items) * 3 + 1)
                raw = request("GET", target).replace(b"accept: application/json", AS_BROWSERS)
                started = time.perf_counter()
                status, body = wire.ask(raw)
                waited.append((time.perf_counter() - started) * 1e3)
                sizes.append(len(body))
                if status != 200 or b"<html" not in body[:200]:
                    raise CheckError(f"{target} answered {status}: {body[:300]!r}")
            figures |= {
                f"{name}_first_ms": round(waited[0], 1),
                f"{name}_p50_ms": round(statistics.median(waited[1:]), 1),
                f"{name}_most_ms": round(max(waited[1:]), 1),
                f"{name}_kb": round(max(sizes) / 1e3, 1),
            }
            progress.add(1)
    return figures
