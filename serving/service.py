"""What a running server holds: the warehouse, the release that answers, lists solved since, and the thread that solves."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from schemas.errors import ReleaseError
from schemas.settings import Settings
from serving.answers import RequestError
from serving.metrics import AccessLog, Metrics
from serving.opened import OpenRelease
from serving.solve import HistoryRow, Solved, solve, stored_history
from serving.verify import open_verified
from warehouse.layout import Warehouse
from warehouse.release import current

SOLVED_KEPT = 256
DAY = 86_400


class Service:
    """One server's state. The event loop owns it; only `run` leaves that thread."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse = warehouse
        self.settings = settings
        release, _ = current(warehouse)
        self.current = open_verified(release)
        self.metrics = Metrics()
        self.log = AccessLog()
        self.at_start: list[Callable[[], None]] = []
        self.at_stop: list[Callable[[], None]] = []
        self.previous: OpenRelease | None = None
        self.pointer: str | None = self.current.id
        self.jinja: Any = None
        self.routes: tuple = ()
        self.cache_control = b"private, no-cache" if settings.private else b"public, no-cache"
        self.problem: str | None = None
        self.compared: dict[tuple[str, str], dict] = {}
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solve")
        self._solved: OrderedDict[tuple, Solved] = OrderedDict()
        self._solving: dict[tuple, asyncio.Future] = {}

    async def start(self) -> None:
        """Begin what runs beside the requests."""
        for begin in self.at_start:
            begin()

    async def stop(self) -> None:
        for end in self.at_stop:
            end()
        self.close()
        self.log.flush()

    def overlay_lag(self) -> tuple[int, int]:
        """Online ratings that the current release does not contain, and the last sequence number."""
        return 0, 0

    def write_state(self) -> dict[str, Any]:
        """Whether ratings can be written, for /health/ready."""
        return {}

    def close(self) -> None:
        self._solver.shutdown(wait=False, cancel_futures=True)
        for opened in (self.previous, self.current):
            if opened is not None:
                opened.retire()

    def is_stale(self, opened: OpenRelease) -> bool:
        return opened.age_s(self.now()) > self.settings.stale_after_days * DAY

    def pinned(self, release_id: str) -> OpenRelease:
        """The open release that a page token names."""
        for opened in (self.current, self.previous):
            if opened is not None and opened.id == release_id:
                return opened
        raise RequestError(f"next: release {release_id} is no longer served; ask for the first page again", 410)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Call a function of the kernels' side in the thread that solves, so that lookups go on meanwhile."""
        return asyncio.get_running_loop().run_in_executor(self._solver, function, *arguments)

    async def run_on(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same, with the release kept open until it is done."""
        opened.hold()
        try:
            return await self.run(function, *arguments)
        finally:
            opened.let_go()

    def now(self) -> float:
        return time.time()

    def user_seq(self, opened: OpenRelease, user_id: Any) -> int:
        """Sequence number of the user's last rating that the release does not contain; 0 where it has all."""
        return 0

    def items_since(self, opened: OpenRelease, user_id: Any, seq: int) -> frozenset:
        """Items that the user got after seq."""
        return frozenset()

    def history(self, opened: OpenRelease, user_id: Any, seq: int) -> list[HistoryRow]:
        """The full history: the release's rows, and what came in since, up to seq; empty for nobody. Callable from any thread."""
        return [] if user_id is None else stored_history(opened, user_id)

    async def solved(self, opened: OpenRelease, user_id: Any, seq: int, n: int) -> Solved:
        """The user's list, solved once for each state of the history; requests that wait for the same one share it."""
        key = (opened.id, user_id, seq, n)
        found = self._solved.get(key)
        if found is not None:
            self._solved.move_to_end(key)
            return found
        if key not in self._solving:
            self._solving[key] = asyncio.ensure_future(self._solve(key, opened))
        return await asyncio.shield(self._solving[key])

    async def _solve(self, key: tuple, opened: OpenRelease) -> Solved:
        try:
            found = await self.run_on(opened, self._solve_now, opened, *key[1:])
        finally:
            del self._solving[key]
        self._solved[key] = found
        if len(self._solved) > SOLVED_KEPT:
            self._solved.popitem(last=False)
        return found

    def _solve_now(self, opened: OpenRelease, user_id: Any, seq: int, n: int) -> Solved:
        try:
            return solve(opened, self.history(opened, user_id, seq), n=n)
        except ValueError as error:
            raise ReleaseError(f"release {opened.id}: user {user_id}'s list cannot be solved: {error}") from error
