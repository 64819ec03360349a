"""POST /releases/<id>/promote: move the pointer, and answer once this server follows it."""

from __future__ import annotations

import asyncio

from serving.answers import Answer, RequestError
from serving.call import Call
from serving.lookups.releases import known
from serving.service import Service
from serving.verify import open_verified
from warehouse import release as releases


async def promote(service: Service, call: Call) -> Answer:
    """Promote a release as `cinematch releases promote` does: every byte is compared with the manifest first, and what was held back needs a
    reason. `latest` stands for the newest release."""
    name = known(service, call.path["release"]).release
    (await asyncio.to_thread(open_verified, service.warehouse.sealed(name), service.trusted)).retire()  # or nothing moves
    previous = await asyncio.to_thread(
        releases.promote, service.warehouse, name, reason=call.values["reason"] or "", by=f"key {call.key}", trusted=service.trusted
    )
    await service.follow()
    if service.current.id != name:
        raise RequestError(f"release {name} is promoted, but this server could not open it: {service.problem}", 503)
    return Answer(rows=[{"release": name, "previous": previous, "status": "served"}], key="release", opened=service.current)
