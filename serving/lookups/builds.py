"""GET /runs: what is being built, step by step, and how long each step of the last releases took."""

from __future__ import annotations

import asyncio
from typing import Any

from serving.lookups.quality import sealed_manifests
from serving.lookups.releases import Standing
from serving.opened import iso
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse.under_way import under_way

RECENT = 20  # sealed releases


async def listing(service: Service, request: Request) -> Response:
    """Releases that are under way, with the steps that are done and the one that is next or at work; then the last sealed ones, the newest
    first. As the warehouse says: `/runs/<id>` asks Airflow. A run that was killed stands here until the next one sweeps it away."""
    return Response(rows=await asyncio.to_thread(_listed, service), key="release", extra={"source": "warehouse"}, opened=request.opened)


def _listed(service: Service) -> list[dict[str, Any]]:
    standing, now = Standing.of(service), under_way(service.warehouse)
    building = [
        {
            "release": one.release,
            "status": "under way",
            "step": one.step,
            "since": iso(one.since),
            "seconds_s": _total(one.steps),
            "steps": [step | {"ended_at": iso(step["ended_at"])} for step in one.steps],
        }
        for one in now
    ]
    sealed = [
        {
            "release": manifest.release,
            "status": standing.status(manifest),
            "step": None,
            "since": None,
            "seconds_s": _total(manifest.steps),
            "steps": [
                {**{name: step.get(name) for name in ("step", "seconds_s", "peak_mib")}, "ended_at": None} for step in manifest.steps
            ],
        }
        for manifest in reversed(sealed_manifests(service)[-RECENT:])
    ]
    return building + sealed


def _total(steps: list[dict[str, Any]]) -> float:
    """Seconds of all steps; parts of one that ran side by side count within it."""
    return round(sum(step["seconds_s"] for step in steps if "-" not in step["step"]), 3)
