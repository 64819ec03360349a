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
        self._seen: tuple[Stamp | None, Stamp | None] | None = None
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
        """Follow the pointer where it moved or other items are hidden, or again after a while where what it names was refused."""
        warehouse = self._service.warehouse
        signature = stamp_of(warehouse.current), stamp_of(warehouse.hidden)
        is_due = self._service.releases.problem is not None and time.monotonic() >= self._retry_at
        if signature != self._seen or is_due:
            self._seen = signature
            await self.follow()

    async def follow(self) -> None:
        """Serve the release that `current` names, without what is hidden; on any fault go on with the one before, and say so."""
        async with self._following:
            service = self._service
            service.releases.look_at_hidden()
            try:
                if service.releases.current.without != service.releases.hidden:
                    self._replace(await asyncio.to_thread(_again, service.releases.current, service.releases.hidden))
                service.releases.pointer = pointer = current_id(service.warehouse)
                if pointer is None:
                    raise CineMatchError(f"{service.warehouse.current} is gone")
                if pointer != service.releases.current.id:
                    sealed, releases = service.warehouse.sealed(pointer), service.releases
                    self._swap(await asyncio.to_thread(open_verified, sealed, releases.trusted, releases.hidden))
                service.releases.problem = None
            except Exception as error:
                if not isinstance(error, (CineMatchError, OSError)):
                    log.exception("unexpected error while a release was opened")
                self._retry_at = time.monotonic() + RETRY_S
                if service.releases.problem != str(error):
                    log.error("refused: %s. Release %s goes on", error, service.releases.current.id)
                    service.metrics.swaps["refused"] += 1
                service.releases.problem = str(error) or type(error).__name__

    def _replace(self, opened: OpenRelease) -> None:
        """Answer with the same release, opened again because other items are hidden now."""
        releases = self._service.releases
        before, releases.current = releases.current, opened
        before.retire()
        self._end_grace()  # the pages of the release before would show what is hidden
        log.info("release %s answers, without %d items that are hidden", opened.id, len(opened.hidden))

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


def _again(opened: OpenRelease, hidden: frozenset[str]) -> OpenRelease:
    """Open a release again that was verified before."""
    other = OpenRelease(opened.files, hidden)
    other.warm()
    return other
