"""/releases: what is in the warehouse, and what the manifests say of it."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from schemas.errors import CineMatchError, NotFound, ReleaseError, UsageError
from schemas.manifest import Manifest
from serving.past import not_here
from serving.request import Request
from serving.response import Response
from serving.service import Service
from warehouse import history, release as releases
from warehouse.compare import compare as compare_releases, other_settings
from warehouse.measures import checked, choice, counted, deciding

_CHANGES = ("status", "promoted_at", "rolled_back_at")  # of what is said of a release, as it goes on


async def listing(service: Service, request: Request) -> Response:
    """Every sealed release, newest first, and what became of it: served by this server, current, promoted before, rolled back
    from, held back, only sealed, or damaged."""
    return Response(rows=await asyncio.to_thread(_listed, service), key="release", extra={"source": "manifests"})


def _listed(service: Service) -> list[dict[str, Any]]:
    rows, standing = [], Standing.of(service)
    for name in reversed(releases.sealed_ids(service.warehouse)):
        try:
            rows.append(_row(releases.read_manifest(service.warehouse.sealed(name)), standing))
        except ReleaseError as error:
            rows.append({"release": name, "status": "damaged", "message": str(error)})
    return rows


class Standing(NamedTuple):
    """The state of the releases, as the pointer and the journal of promotions say."""

    served: str
    current: str | None
    promoted: dict[str, dict[str, Any]]
    rolled_back: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, service: Service) -> Standing:
        try:
            promoted = {entry["release"]: entry for entry in history.promotions(service.warehouse)}
            undone = history.rolled_back(service.warehouse)
        except (CineMatchError, OSError, ValueError, LookupError, TypeError):  # a journal that cannot be read hides no release
            promoted, undone = {}, {}
        return cls(service.releases.current.id, service.releases.pointer, promoted, undone)

    def status(self, manifest: Manifest) -> str:
        name = manifest.release
        if name in (self.served, self.current):
            return "served" if name == self.served else "current"
        if name in self.rolled_back:
            return "rolled back"
        if name in self.promoted:
            return "promoted"
        return "held back" if manifest.verdict.get("decision") == "hold back" else "sealed"


def _row(manifest: Manifest, standing: Standing) -> dict[str, Any]:
    name = manifest.release
    promoted, undone = standing.promoted.get(name, {}), standing.rolled_back.get(name, {})
    return {
        "release": name,
        "status": standing.status(manifest),
        "created_at": manifest.created_at,
        "as_of": manifest.as_of,
        "input": manifest.source,
        "served_model": manifest.served_model,
        **{f"n_{table}": manifest.counts[table] for table in ("users", "items", "ratings", "recommendations")},
        "bytes": sum(file["bytes"] for file in manifest.files.values()),
        "verdict": manifest.verdict,
        "promoted_at": promoted.get("at"),
        "promoted_reason": promoted.get("reason"),
        "rolled_back_at": undone.get("at"),
        "rolled_back_reason": undone.get("reason"),
    }


def known(service: Service, name: str) -> Manifest:
    """The manifest of a release, or of the one that `current` or `latest` stands for. Raises NotFound."""
    try:
        return releases.read_manifest(service.warehouse.sealed(releases.named(service.warehouse, name)))
    except (NotFound, UsageError):
        raise not_here(service.warehouse, name) from None


def show(service: Service, request: Request) -> Response:
    """One manifest, whole. `current` stands for the promoted release and `latest` for the newest."""
    manifest, standing = known(service, request.path["release"]), Standing.of(service)
    row, before = _row(manifest, standing), _before(service, manifest.release)
    tag = ".".join(str(part) for part in (manifest.release, *(row[name] for name in _CHANGES), before and before.release))
    return Response(
        rows=[
            {
                **row,
                "rating_scale": manifest.rating_scale,
                "rows": manifest.rows,
                "counts": manifest.counts,
                "choice": choice(manifest),
                "deciding_metric": deciding(manifest),
                "counted": counted(manifest),
                "models": manifest.models,
                "metrics": manifest.metrics,
                "steps": manifest.steps,
                "parity": manifest.parity,
                "checks": manifest.checks,
                "checked": checked(manifest),
                "settings": manifest.settings,
                "before": None if before is None else before.release,
                "other_settings": [] if before is None else other_settings(before, manifest),
                "versions": manifest.versions,
                "input_digest": manifest.input["sha256"],
                "tables": manifest.tables,
                "files": manifest.files,
            }
        ],
        key="release",
        extra={"source": "manifest"},
        tag=tag.replace(" ", "-"),
    )


def _before(service: Service, name: str) -> Manifest | None:
    """The release that was sealed before; None for the first, or where its manifest cannot be read."""
    earlier = [other for other in releases.sealed_ids(service.warehouse) if other < name]
    try:
        return releases.read_manifest(service.warehouse.sealed(earlier[-1])) if earlier else None
    except CineMatchError:
        return None


async def compare(service: Service, request: Request) -> Response:
    """Two releases side by side, each by its id, `current` or `latest`; computed once for each pair, as neither can change."""
    a, b = (known(service, request.values[place]).release for place in ("a", "b"))
    key = (a, b)
    if key not in service.releases.compared:
        service.releases.compared[key] = await asyncio.to_thread(compare_releases, service.warehouse, a, b)
    comparison = service.releases.compared[key]
    return Response(
        rows=comparison["rows"],
        key="figure",
        tag=f"{a}.{b}.{request.opened.tag}",
        extra={
            "a": a,
            "b": b,
            "n_users": comparison["n_users"],
            **{name: comparison[name] for name in ("mean_overlap_at_10", "users_by_shared", "other_settings", "note")},
            **{name: [item for item in comparison[name] if item["item_id"] not in request.opened.hidden] for name in ("risen", "fallen")},
            "source": "manifests",
        },
    )
