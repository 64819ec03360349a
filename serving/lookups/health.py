"""/health: whether the process lives, and whether it answers from the release that it should."""

from __future__ import annotations

from serving.metrics import Gauges
from serving.request import Request
from serving.response import Response
from serving.service import Service


def live(service: Service, request: Request) -> Response:
    """The process answers."""
    return Response(rows=[{"status": "live"}], key="status")


def ready(service: Service, request: Request) -> Response:
    """200 while a release answers; `problem` says why the promoted one does not, or which file beside it is damaged."""
    opened, problems = service.releases.current, service.problems()
    row = {
        "status": "degraded" if problems else "ready",
        "release": opened.id,
        "current": service.releases.pointer,
        "problem": "; ".join(problems) or None,
        "computed_at": opened.computed_at,
        "stale": service.releases.is_stale(opened),
        **service.write_state(),
    }
    return Response(rows=[row], key="status")


def metrics(service: Service, request: Request) -> Response:
    """Prometheus' text format; the one answer that is not in the envelope."""
    opened, (pending, sequence) = service.releases.current, service.overlay_lag()
    gauges = Gauges(
        opened.id, opened.age_s(service.now()), pending, sequence, len(service.problems()), is_ready=service.releases.problem is None
    )
    return Response(text=service.metrics.text(gauges))
