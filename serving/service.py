"""What a running server holds: the warehouse, the release that answers, lists solved since, and the thread that solves."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from schemas.errors import SettingError
from schemas.settings import Settings
from serving.answers import RequestError
from serving.keys import Keys
from serving.metrics import AccessLog, Metrics
from serving.opened import OpenRelease
from serving.overlay import Reader, Writer
from serving.solve import HistoryRow, Solved, solve, stored_history
from serving.verify import open_verified
from warehouse import forgotten
from warehouse.layout import Warehouse
from warehouse.overlay import fold, Held
from warehouse.release import current

log = logging.getLogger("cinematch.serving")

SOLVED_KEPT = 256
DAY = 86_400
WAITING = 256
NEVER = 2**31
NO_KEY = "off: no API key is configured; `python -m serving.keys create` makes one"


class Service:
    """One server's state. The event loop owns it; only `run` leaves that thread."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse = warehouse
        self.settings = settings
        release, _ = current(warehouse)
        self.current = open_verified(release)
        self.metrics = Metrics()
        self.log = AccessLog()
        self.keys = Keys(warehouse.keys, settings.api_key_hashes)
        self._keys_problem = ""
        self.writer = None if settings.read_only else Writer(warehouse.overlay)
        self.overlay: Reader | None = None
        self.look()
        self.at_start: list[Callable[[], None]] = []
        self.at_stop: list[Callable[[], None]] = []
        self.previous: OpenRelease | None = None
        self.pointer: str | None = self.current.id
        self.routes: tuple = ()
        self.cache_control = b"private, no-cache" if settings.private else b"public, no-cache"
        self.problem: str | None = None
        self.compared: dict[tuple[str, str], dict] = {}
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solve")
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="beside")
        self._n_beside = 0
        self._solved: OrderedDict[tuple, Solved] = OrderedDict()
        self._solving: dict[tuple, asyncio.Future] = {}
        self._n_waiting = 0
        self._forgotten = forgotten.Forgotten("", frozenset())
        self._forgotten_path = str(warehouse.forgotten)
        self._forgotten_seen: tuple | None = None
        self._allowances: dict[str | None, tuple[float, float]] = {}
        self.follow: Callable[[], Awaitable[None]]

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
        if self.overlay is None:
            return 0, 0
        return self.overlay.lag(after=self.current.overlay_seq)

    def write_state(self) -> dict[str, Any]:
        """Whether ratings can be written, for /health/ready."""
        if self.settings.read_only:
            return {"writes": "off: this server is read-only"}
        return {"writes": "on" if self.keys else NO_KEY}

    def look(self) -> None:
        """See what others changed: keys made or taken away, an overlay that a writer created."""
        try:
            self.keys.look()
        except SettingError as error:
            if str(error) != self._keys_problem:
                log.error("%s", error)
                self._keys_problem = str(error)
        if self.overlay is None and self.warehouse.overlay.exists():
            self.overlay = Reader(self.warehouse.overlay)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self._solver.shutdown(wait=False, cancel_futures=True)
        self._beside.shutdown(wait=False, cancel_futures=True)
        for opened in (self.previous, self.current):
            if opened is not None:
                opened.retire()

    def is_stale(self, opened: OpenRelease) -> bool:
        return opened.age_s(self.now()) > self.settings.stale_after_days * DAY

    def personal_tag(self, opened: OpenRelease, user_id: Any, seq: int | str) -> str:
        """The entity tag of what a user is told: it changes with the release, with each rating, and when they are forgotten."""
        return f"{opened.id}.{'unknown' if user_id is None else seq}{'.s' if self.is_stale(opened) else ''}"

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
        """The same, with the release kept open until it is done. Raises RequestError (429) where too many wait already."""
        if self._n_waiting >= WAITING:
            raise RequestError(
                f"{WAITING} lists are being solved already; ask again in a second", 429, {"retry-after": "1"}
            )
        opened.hold()
        self._n_waiting += 1
        try:
            return await self.run(function, *arguments)
        finally:
            self._n_waiting -= 1
            opened.let_go()

    async def aside(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes long but solves nothing, such as a search or a page, in threads of their own. Raises as `run_on` does."""
        if self._n_beside >= WAITING:
            raise RequestError(
                f"{WAITING} searches and pages wait already; ask again in a second", 429, {"retry-after": "1"}
            )
        opened.hold()
        self._n_beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._beside, function, *arguments)
        finally:
            self._n_beside -= 1
            opened.let_go()

    def now(self) -> float:
        return time.time()

    def known_as(self, user_id: Any) -> Any:
        """The user as lookups may know them; None for one who asked to be forgotten."""
        return None if self.is_forgotten(user_id) else user_id

    def is_forgotten(self, user_id: Any) -> bool:
        """Whether the user is on the list of the forgotten, as it is this moment."""
        try:
            found = os.stat(self._forgotten_path)
        except OSError:
            return False
        signature = (found.st_ino, found.st_mtime_ns, found.st_size)
        if signature != self._forgotten_seen:
            self._forgotten, self._forgotten_seen = forgotten.read(self.warehouse.forgotten), signature
            self._solved.clear()
        return user_id in self._forgotten

    def user_seq(self, opened: OpenRelease, user_id: Any) -> int:
        """Sequence number of the user's last rating that the release does not contain; 0 where it has all."""
        return self.overlay.user_seq(user_id, after=opened.overlay_seq) if self.overlay is not None else 0

    def held(self, opened: OpenRelease, user_id: Any, seq: int) -> dict[Any, Held]:
        """What a user has, by item: the release's rows with what came in since, up to seq, folded over them. From any thread."""
        base = {row.item_id: Held(row.rating, row.weight, row.rated_at) for row in stored_history(opened, user_id)}
        if not seq or self.overlay is None:
            return base
        arrived = self.overlay.of_user(user_id, after=opened.overlay_seq, upto=seq)
        return fold(base, arrived, is_implicit=not opened.has_ratings)

    def history(self, opened: OpenRelease, user_id: Any, seq: int) -> list[HistoryRow]:
        """The full history, as the kernels take it; empty for nobody. From any thread."""
        if user_id is None:
            return []
        return [
            HistoryRow(item, one.rating, one.weight, one.rated_at)
            for item, one in self.held(opened, user_id, seq).items()
        ]

    def items_since(self, opened: OpenRelease, user_id: Any, seq: int) -> frozenset:
        """Items that the user got after seq."""
        if self.overlay is None or user_id is None or self.user_seq(opened, user_id) <= seq:
            return frozenset()
        return frozenset(entry.item_id for entry in self.overlay.of_user(user_id, after=seq) if not entry.is_deleted)

    def limit(self, key: str | None, n: int) -> None:
        """Count n ratings against the key. Raises RequestError (429) where it sent more than it may."""
        rate = self.settings.write_rate
        now = time.monotonic()
        left, at = self._allowances.get(key, (float(rate), now))
        left = min(rate, left + (now - at) * rate)
        if left < min(n, rate):
            wait = math.ceil((min(n, rate) - left) / rate)
            raise RequestError(
                f"more than {rate} ratings a second with one key; send this again later",
                429,
                {"retry-after": str(wait)},
            )
        self._allowances[key] = (left - n, now)

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
        rows = self.history(opened, user_id, seq)
        try:
            return solve(opened, rows, n=n)
        except ValueError:  # the rating is safe in the overlay; the list is the fallback until the next release
            log.exception(
                "release %s: a list of %d interactions cannot be solved; the fallback is given", opened.id, len(rows)
            )
            return solve(opened, rows, n=n, min_history=NEVER)
