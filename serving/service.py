"""A running server: its releases, its users, whom it lets in, the threads that work for it, and what it counts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from schemas.settings import Settings
from serving.file_stamp import Stamp, stamp_of
from serving.guard import Guard, NO_KEY
from serving.metrics import AccessLog, Metrics
from serving.releases import Releases
from serving.threads import Threads
from serving.users import Users
from warehouse import catalog
from warehouse.layout import Warehouse

log = logging.getLogger("cinematch.serving")


class Service:
    """One server's state, which the event loop owns. `routes` and `follow`, which serves what the pointer names, come with the
    application."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse = warehouse
        self.settings = settings
        self.releases = Releases(warehouse, settings)
        self.guard = Guard(warehouse, settings)
        self.threads = Threads()
        self.users = Users(warehouse, settings, self.threads)
        self.metrics = Metrics()
        self.log = AccessLog()
        self.routes: tuple[Any, ...] = ()
        self.follow: Callable[[], Awaitable[None]]
        self._said: list[str] = []
        self._catalogue: Stamp | None = None
        self._catalogue_problem: str | None = None

    def overlay_lag(self) -> tuple[int, int]:
        """Online ratings that the current release does not contain, and the last sequence number."""
        return self.users.online.lag(self.releases.current)

    def write_state(self) -> dict[str, Any]:
        """Whether ratings can be written, for /health/ready."""
        if self.settings.read_only:
            return {"writes": "off: this server is read-only"}
        unsafe = self.users.online.problem or self.users.forgotten.problem
        return {"writes": f"off: {unsafe}" if unsafe else "on" if self.guard.keys else NO_KEY}

    def problems(self) -> list[str]:
        """List what is not as it should be: the promoted release, or a file beside it."""
        users, keys = self.users, self.guard.keys
        files = (users.online.problem, users.forgotten.problem, self.releases.hidden_problem, keys.problem, self._catalogue_problem)
        problems = (self.releases.problem, *files)
        return [problem for problem in problems if problem is not None]

    async def look(self) -> None:
        """See what others changed: keys made or taken away, users forgotten, an overlay put in the place of ours."""
        keys, online = self.guard.keys, self.users.online
        keys.look()
        if keys.is_due(self.now()):
            await asyncio.to_thread(keys.save, keys.take_used(self.now()))
        self.users.forgotten.look()
        self.releases.past.look()
        if online.is_due():
            await asyncio.to_thread(online.open)  # which reads all of it
        if (catalogue := stamp_of(self.warehouse.catalog)) != self._catalogue:
            self._catalogue, self._catalogue_problem = catalogue, await asyncio.to_thread(catalog.problem, self.warehouse)
        problems = self.problems()
        for problem in problems:
            if problem not in self._said and problem != self.releases.problem:
                log.error("%s", problem)
        self._said = problems

    def stop(self) -> None:
        """Close what is open, and write down what was only in memory."""
        self.close()
        keys = self.guard.keys
        if keys.has_used:
            keys.save(keys.take_used(self.now()))
        self.log.flush()

    def close(self) -> None:
        self.threads.close()
        self.users.online.close()
        self.releases.close()

    def now(self) -> float:
        return time.time()
