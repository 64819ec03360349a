"""The state of a running server: the warehouse, the release that answers, lists solved since, and the thread that solves."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from schemas.errors import ReleaseError, SettingError
from schemas.settings import Settings
from serving.forgotten import ForgottenUsers
from serving.keys import Keys
from serving.limits import Buckets, WrongKeys
from serving.metrics import AccessLog, Metrics
from serving.online import Online
from serving.opened import OpenRelease
from serving.response import RequestError
from serving.solve import solve, solve_popular, Solved, stored_history
from serving.user_tokens import UserTokens
from serving.verify import open_verified
from warehouse import catalog, signature
from warehouse.layout import Warehouse
from warehouse.overlay import apply_log, Held
from warehouse.promotion import last_promoted
from warehouse.release import current, current_id

log = logging.getLogger("cinematch.serving")

SOLVED_KEPT = 256
DAY = 86_400
WAITING = 256
NO_KEY = "off: no API key is configured; `cinematch keys create` makes one"


def _pointed(warehouse: Warehouse) -> tuple[str, str | None]:
    """The release to begin with, and what is wrong with the pointer: where that is damaged or gone, the one promoted last is
    served. Raises NotFound where none was, ReleaseError where it is not known."""
    try:
        found, problem = current_id(warehouse), f"{warehouse.current} is gone"
    except ReleaseError as error:
        found, problem = None, str(error)
        if last_promoted(warehouse) is None:
            raise
    return (found, None) if found else (last_promoted(warehouse) or current(warehouse)[0].id, problem)


def is_private(settings: Settings) -> bool:
    """Whether reads need a key: where it is set, and where others than this machine can reach the server and nothing is set. Raises
    SettingError where both are."""
    if settings.private and settings.public:
        raise SettingError("private and public: expected one of the two, got both")
    return settings.private or not settings.public and not is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _written(path: Path) -> tuple[int, int, int] | None:
    """Return which file is at a path, and as of when; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Service:
    """One server's state. The event loop owns it; only `run` leaves that thread."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.warehouse = warehouse
        self.settings = settings
        pointer, self.problem = _pointed(warehouse)
        self.pointer: str | None = pointer
        self.trusted = signature.trusted(settings.trusted_keys)
        self.current = open_verified(warehouse.sealed(pointer), self.trusted)
        self._solved: OrderedDict[tuple[Any, ...], Solved] = OrderedDict()
        self._said: list[str] = []
        self._catalogue: tuple[int, int, int] | None = None
        self.catalogue_problem: str | None = None
        self.metrics = Metrics()
        self.log = AccessLog()
        self.is_private = is_private(settings)
        self.keys = Keys(warehouse, settings.api_key_hashes)
        self.user_tokens = UserTokens(settings.user_token_secret)
        self.key_reads = Buckets("key", settings.key_reads)
        self.address_reads = Buckets("address", settings.address_reads)
        self.wrong_keys = WrongKeys()
        self.forgotten = ForgottenUsers(warehouse.forgotten, self._forget_lists)
        self.online = Online(warehouse, is_read_only=settings.read_only, changed=self._forget_lists)
        self.at_start: list[Callable[[], None]] = []
        self.at_stop: list[Callable[[], None]] = []
        self.previous: OpenRelease | None = None
        self.routes: tuple[Any, ...] = ()
        self.cache_control = b"private, no-cache" if self.is_private else b"public, no-cache"
        self.compared: dict[tuple[str, str], dict[str, Any]] = {}
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solve")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="make")
        self.searcher = ThreadPoolExecutor(2, thread_name_prefix="search")
        self._n_beside = 0
        self._solving: dict[tuple[Any, ...], asyncio.Future[Any]] = {}
        self._n_waiting = 0
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
        if self.keys.has_used:
            self.keys.save(self.keys.take_used(self.now()))
        self.log.flush()

    def overlay_lag(self) -> tuple[int, int]:
        """Online ratings that the current release does not contain, and the last sequence number."""
        return self.online.lag(self.current)

    def write_state(self) -> dict[str, Any]:
        """Whether ratings can be written, for /health/ready."""
        if self.settings.read_only:
            return {"writes": "off: this server is read-only"}
        unsafe = self.online.problem or self.forgotten.problem
        return {"writes": f"off: {unsafe}" if unsafe else "on" if self.keys else NO_KEY}

    def problems(self) -> list[str]:
        """List what is not as it should be: the promoted release, or a file beside it."""
        found = (self.problem, self.online.problem, self.forgotten.problem, self.keys.problem, self.catalogue_problem)
        return [problem for problem in found if problem is not None]

    async def look(self) -> None:
        """See what others changed: keys made or taken away, users forgotten, an overlay put in the place of ours."""
        self.keys.look()
        if self.keys.is_due(self.now()):
            await asyncio.to_thread(self.keys.save, self.keys.take_used(self.now()))
        self.forgotten.look()
        if self.online.is_due():
            await asyncio.to_thread(self.online.open)  # which reads all of it
        if (catalogue := _written(self.warehouse.catalog)) != self._catalogue:
            self._catalogue, self.catalogue_problem = catalogue, await asyncio.to_thread(catalog.problem, self.warehouse)
        found = self.problems()
        for problem in found:
            if problem not in self._said and problem != self.problem:
                log.error("%s", problem)
        self._said = found

    def _forget_lists(self) -> None:
        """Solve every list again: something else decides over them now."""
        self._solved.clear()

    def close(self) -> None:
        self._solver.shutdown(wait=True, cancel_futures=True)
        for pool in (self._maker, self.searcher):
            pool.shutdown(wait=False, cancel_futures=True)
        self.online.close()
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
        """Run a function in the solver's thread, with the release kept open until it is done. Raises RequestError (429) if too many wait."""
        if self._n_waiting >= WAITING:
            raise RequestError(f"{WAITING} lists are being solved already; ask again in a second", 429, {"retry-after": "1"})
        opened.hold()
        self._n_waiting += 1
        try:
            return await self.run(function, *arguments)
        finally:
            self._n_waiting -= 1
            opened.let_go()

    async def aside(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes long but solves nothing, such as making a page, in a thread of its own. One is enough: each thread that
        runs Python makes the event loop wait for its turn."""
        return await self.beside(self._maker, opened, function, *arguments)

    async def beside(self, pool: ThreadPoolExecutor, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the threads of a pool, with the release kept open. Raises as `run_on` does."""
        if self._n_beside >= WAITING:
            raise RequestError(f"{WAITING} searches and pages wait already; ask again in a second", 429, {"retry-after": "1"})
        opened.hold()
        self._n_beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
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
        return user_id in self.forgotten

    def user_seq(self, opened: OpenRelease, user_id: Any) -> int:
        """Sequence number of the user's last rating that the release does not contain; 0 where it has all."""
        return self.online.user_seq(opened, user_id)

    def held(self, opened: OpenRelease, user_id: Any, seq: int) -> dict[Any, Held]:
        """Return what a user has, by item: the release's rows with what came in since, up to seq, folded over them. From any thread."""
        arrived = self.online.of_user(opened, user_id, upto=seq) if seq else []
        return apply_log(stored_history(opened, user_id), arrived, is_implicit=not opened.has_ratings)

    def items_since(self, opened: OpenRelease, user_id: Any, seq: int) -> frozenset[Any]:
        """Items that the user got after seq."""
        if user_id is None or self.user_seq(opened, user_id) <= seq:
            return frozenset()
        return frozenset(entry.item_id for entry in self.online.of_user_after(user_id, seq) if not entry.is_deleted)

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

    async def _solve(self, key: tuple[Any, ...], opened: OpenRelease) -> Solved:
        try:
            found = await self.run_on(opened, self._solve_now, opened, *key[1:])
        finally:
            del self._solving[key]
        self._solved[key] = found
        if len(self._solved) > SOLVED_KEPT:
            self._solved.popitem(last=False)
        return found

    def _solve_now(self, opened: OpenRelease, user_id: Any, seq: int, n: int) -> Solved:
        rows = self.held(opened, user_id, seq)
        try:
            return solve(opened, rows, n=n)
        except ValueError:  # the rating is safe in the overlay; the list is the fallback until the next release
            log.exception("release %s: a list of %d interactions cannot be solved; the fallback is given", opened.id, len(rows))
            return solve_popular(opened, rows, n=n)
