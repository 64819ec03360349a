"""GET /quality: one metric of every release and model, what each release was judged by, and how the models of the newest compare."""

from __future__ import annotations

import asyncio
from typing import Any

from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.metrics import metric_of
from serving.lookups.releases import Standing
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service
from warehouse import release as releases
from warehouse.measures import deciding, HELD_OUT, named


async def quality(service: Service, request: Request) -> Response:
    """A metric of every model of every sealed release, the oldest first; by default the one that the release which answers was judged by.
    Values of two releases are of other users and other rows: the verdicts compare two models on the same."""
    return await asyncio.to_thread(_quality, service, request)


def _quality(service: Service, request: Request) -> Response:
    manifests, current, standing = sealed_manifests(service), request.opened.manifest, Standing.of(service)
    protocol, metric = request.values["protocol"] or HELD_OUT, request.values["metric"] or f"{deciding(current)}@10"
    known = sorted({(row["protocol"], named(row["metric"], row["k"])) for manifest in manifests for row in manifest.metrics})
    if (protocol, metric) not in known:
        shown, protocols = [name for of, name in known if of == protocol], sorted({of for of, _ in known})
        if not shown:
            raise RequestError(f"protocol: no release has a metric of {protocol[:100]!r}; expected one of {', '.join(protocols)}")
        raise RequestError(f"metric: no release has {metric[:100]!r} of {protocol[:100]!r}; expected one of {', '.join(shown)}")
    rows = [
        {
            "release": manifest.release,
            "created_at": manifest.created_at,
            "status": standing.status(manifest),
            "model": row["model"],
            "is_served": row["model"] == manifest.served_model,
            **{name: row[name] for name in ("value", "low", "high", "n_users")},
        }
        for manifest in manifests
        for row in sorted(manifest.metrics, key=lambda row: row["model"])
        if (row["protocol"], named(row["metric"], row["k"])) == (protocol, metric)
    ]
    return Response(
        rows=rows,
        key="model",
        extra={
            "protocol": protocol,
            "metric": metric,
            "meaning": metric_of(metric.split("@")[0]).meaning,
            "metrics": [{"protocol": of, "metric": name} for of, name in known],
            "models": _models(current),
            "verdicts": [_verdict(manifest, standing) for manifest in reversed(manifests)],
            "source": "manifests",
        },
    )


def sealed_manifests(service: Service) -> list[Manifest]:
    """Every manifest of the warehouse that can be read, the oldest first."""
    manifests = []
    for name in releases.sealed_ids(service.warehouse):
        try:
            manifests.append(releases.read_manifest(service.warehouse.sealed(name)))
        except ReleaseError:
            continue  # /releases says that it is damaged
    return manifests


def _models(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the deciding metric and the coverage of each model of a release."""
    figures: dict[str, dict[str, float]] = {}
    for row in manifest.metrics:
        if row["protocol"] == HELD_OUT and row["metric"] in (deciding(manifest), "coverage"):
            figures.setdefault(row["model"], {})[row["metric"]] = row["value"]
    return [
        {
            "model": model,
            "is_served": model == manifest.served_model,
            "value": values.get(deciding(manifest)),
            "coverage": values.get("coverage"),
        }
        for model, values in sorted(figures.items())
    ]


def _verdict(manifest: Manifest, standing: Standing) -> dict[str, Any]:
    """Return how a release was judged, and the difference that decided with its interval; `least` is what it may lose."""
    verdict = manifest.verdict
    measure: dict[str, Any] = next((m for m in verdict.get("measures", []) if m.get("difference") is not None), {})
    return {
        "release": manifest.release,
        "created_at": manifest.created_at,
        "status": standing.status(manifest),
        "decision": verdict.get("decision"),
        "reason": verdict.get("reason"),
        "against": verdict.get("champion") or verdict.get("against"),
        **{name: measure.get(name) for name in ("metric", "difference", "low", "high", "least", "n_users")},
    }
