"""Follow the pointer: a promoted release answers within a second, and one that is missing or damaged never does."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from schemas.errors import CineMatchError
from serving.apart import Datasettes
from serving.file_stamp import Stamp, stamp_of
from serving.opened import OpenRelease
from serving.service import Service
from serving.verify import open_verified
from warehouse.release import current_id

log = logging.getLogger("cinematch.serving")

LOOK_S = 0.2
RETRY_S = 5.0
GRACE_S = 60.0  # how long page tokens of the release before still work


class Follower:
    """Looks at `current` and the files beside it a few times a second, and tells Datasette's processes what is new."""

    def __init__(self, service: Service, datasettes: Datasettes) -> None:
        self._service, self._datasettes = service, datasettes
        self._seen: Stamp | None = None
        self._retry_at = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._following = asyncio.Lock()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
                await self._service.look()
                self._datasettes.look()
            except Exception:
                log.exception("the pointer could not be followed; release %s goes on", self._service.releases.current.id)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Follow the pointer where it moved, or again after a while where what it names was refused."""
        signature = stamp_of(self._service.warehouse.current)
        is_due = self._service.releases.problem is not None and time.monotonic() >= self._retry_at
        if signature != self._seen or is_due:
            self._seen = signature
            await self.follow()

    async def follow(self) -> None:
        """Serve the release that `current` names; on any fault go on with the one before, and say so."""
        async with self._following:
            service = self._service
            try:
                service.releases.pointer = pointer = current_id(service.warehouse)
                if pointer is None:
                    raise CineMatchError(f"{service.warehouse.current} is gone")
                if pointer != service.releases.current.id:
                    opened = await asyncio.to_thread(open_verified, service.warehouse.sealed(pointer), service.releases.trusted)
                    self._swap(opened)
                service.releases.problem = None
            except Exception as error:
                if not isinstance(error, (CineMatchError, OSError)):
                    log.exception("unexpected error while a release was opened")
                self._retry_at = time.monotonic() + RETRY_S
                if service.releases.problem != str(error):
                    log.error("refused: %s. Release %s goes on", error, service.releases.current.id)
                    service.metrics.swaps["refused"] += 1
                service.releases.problem = str(error) or type(error).__name__

    def _swap(self, opened: OpenRelease) -> None:
        service = self._service
        before, service.releases.current = service.releases.current, opened
        self._datasettes.show(opened)
        self._end_grace()
        service.releases.previous = before
        self._grace = asyncio.get_running_loop().call_later(GRACE_S, self._end_grace)
        service.metrics.swaps["served"] += 1
        log.info("release %s answers, after %s", opened.id, before.id)

    def _end_grace(self) -> None:
        """Let go of the release before the current one."""
        if self._grace is not None:
            self._grace.cancel()  # a timer would keep the release's files open until it rings
            self._grace = None
        if self._service.releases.previous is not None:
            self._service.releases.previous.retire()
            self._service.releases.previous = None
