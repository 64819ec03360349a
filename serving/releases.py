"""/releases: what is in the warehouse, and what the manifests say of it."""

from __future__ import annotations

import asyncio
from typing import Any

from schemas.errors import NotFound, ReleaseError, UsageError
from schemas.manifest import Manifest
from serving.answers import Answer
from serving.call import Call
from serving.service import Service
from warehouse import release as releases
from warehouse.compare import compare as compare_releases


def listing(service: Service, call: Call) -> Answer:
    """Every sealed release, newest first, and which one answers."""
    rows = []
    for name in reversed(releases.sealed_ids(service.warehouse)):
        try:
            rows.append(_row(releases.read_manifest(service.warehouse.sealed(name)), service))
        except ReleaseError as error:
            rows.append({"release": name, "status": "damaged", "message": str(error)})
    return Answer(rows=rows, key="release", extra={"source": "manifests"})


def _row(manifest: Manifest, service: Service) -> dict[str, Any]:
    return {
        "release": manifest.release,
        "status": "served" if manifest.release == service.current.id else "sealed",
        "created_at": manifest.created_at,
        "as_of": manifest.as_of,
        "input": manifest.source,
        "served_model": manifest.served_model,
        **{f"n_{name}": manifest.counts[name] for name in ("users", "items", "ratings", "recommendations")},
        "bytes": sum(file["bytes"] for file in manifest.files.values()),
        "verdict": manifest.verdict,
    }


def show(service: Service, call: Call) -> Answer:
    """One manifest, whole."""
    name = call.path["release"]
    try:
        manifest = releases.read_manifest(service.warehouse.sealed(name))
    except (NotFound, UsageError):
        raise NotFound(f"release {name[:100]!r}: not in this warehouse; /releases lists those that are") from None
    return Answer(
        rows=[
            {
                **_row(manifest, service),
                "rating_scale": manifest.rating_scale,
                "rows": manifest.rows,
                "counts": manifest.counts,
                "models": manifest.models,
                "metrics": manifest.metrics,
                "steps": manifest.steps,
                "parity": manifest.parity,
                "checks": manifest.checks,
                "settings": manifest.settings,
                "versions": manifest.versions,
                "input_digest": manifest.input["sha256"],
                "tables": manifest.tables,
                "files": manifest.files,
            }
        ],
        key="release",
        extra={"source": "manifest"},
        tag=f"{name}.{service.current.id}",
    )


async def compare(service: Service, call: Call) -> Answer:
    """Two releases side by side; computed once for each pair, because neither can change."""
    a, b = call.values["a"], call.values["b"]
    for name in (a, b):
        show(service, Call(call.opened, {"release": name}))
    key = (a, b)
    if key not in service.compared:
        service.compared[key] = await asyncio.to_thread(compare_releases, service.warehouse, a, b)
    found = service.compared[key]
    return Answer(
        rows=found["rows"],
        key="figure",
        tag=f"{a}.{b}",
        extra={
            "a": a,
            "b": b,
            "n_users": found["n_users"],
            "mean_overlap_at_10": found["mean_overlap_at_10"],
            "source": "manifests",
        },
    )
