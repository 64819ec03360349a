"""POST /releases/<id>/promote: move the pointer, and answer once this server follows it."""

from __future__ import annotations

import asyncio

from serving.lookups.releases import known
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service
from serving.verify import open_verified
from warehouse import promotion


async def promote(service: Service, request: Request) -> Response:
    """Promote a release as `cinematch releases promote` does: every byte is compared with the manifest first, and what was held back needs a
    reason. `latest` stands for the newest release."""
    name = known(service, request.path["release"]).release
    (await asyncio.to_thread(open_verified, service.warehouse.sealed(name), service.releases.trusted)).retire()  # or nothing moves
    previous = await asyncio.to_thread(
        promotion.promote,
        service.warehouse,
        name,
        reason=request.values["reason"] or "",
        by=f"key {request.key}",
        trusted=service.releases.trusted,
    )
    await service.follow()
    if service.releases.current.id != name:
        raise RequestError(f"release {name} is promoted, but this server could not open it: {service.releases.problem}", 503)
    return Response(rows=[{"release": name, "previous": previous, "status": "served"}], key="release", opened=service.releases.current)
