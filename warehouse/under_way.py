"""Releases that are being built: which of their steps are done, as the records in staging say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from warehouse.layout import is_id, STEPS, Warehouse


class UnderWay(NamedTuple):
    """A release in staging, and its finished steps in their order, each with its seconds, its peak memory in MiB and when it ended (Unix
    seconds). `step` is the one that comes next or is at work, `since` when it could begin. Whether its run is alive nothing here says."""

    release: str
    steps: list[dict[str, Any]]
    step: str
    since: float


def under_way(warehouse: Warehouse) -> list[UnderWay]:
    """What is in staging, the newest id first. Records that are gone or cut meanwhile are left out: a run may end at any moment."""
    names = {path.stem for path in warehouse.staging.glob("*.work")} if warehouse.staging.is_dir() else set()
    found = (_read(warehouse, name) for name in sorted(filter(is_id, names), reverse=True))
    return [one for one in found if one is not None]


def _read(warehouse: Warehouse, name: str) -> UnderWay | None:
    staged, steps = warehouse.staged(name), []
    try:
        since = staged.folder.stat().st_ctime
        for path in staged.work.glob("steps/*.json"):
            since, step = max(since, path.stat().st_mtime), _step(path)
            steps += [] if step is None else [step]
    except OSError:
        return None
    done = {step["step"] for step in steps}
    left = next((step for step in STEPS if step not in done), STEPS[-1])
    return UnderWay(name, sorted(steps, key=lambda step: (step["ended_at"], step["step"])), left, since)


def _step(path: Path) -> dict[str, Any] | None:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        measured = {name: float(figures[name]) for name in ("seconds_s", "peak_mib")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {"step": path.stem, **measured, "ended_at": path.stat().st_mtime}
