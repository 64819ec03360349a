"""The threads of a server: one that solves, one that makes pages, two that search, and one that waits for long work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.gives_way import let_thread_give_way
from serving.long_work import LongWork
from serving.opened import OpenRelease
from serving.response import RequestError

WAITING = 256


class Threads:
    """Threads for what takes long, each call with its release kept open, so that lookups go on meanwhile."""

    def __init__(self) -> None:
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solve")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="make")
        self._searcher = ThreadPoolExecutor(2, thread_name_prefix="search", initializer=let_thread_give_way)
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="long")
        self._long_work = LongWork()
        self._solves = _Queue("lists are being solved already")
        self._others = _Queue("searches and pages wait already")
        self._long = _Queue("long answers wait already")

    async def run_on(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the kernels' side in the thread that solves. Raises RequestError (429) if too many wait."""
        return await self._solves.call(self._solver, opened, function, *arguments)

    async def aside(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes long but solves nothing, such as making a page, in a thread of its own. One is enough: each thread that
        runs Python makes the event loop wait for its turn. Raises as `run_on` does."""
        return await self._others.call(self._maker, opened, function, *arguments)

    async def search(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what waits for SQLite. Raises as `run_on` does."""
        return await self._others.call(self._searcher, opened, function, *arguments)

    async def made(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any, is_long: bool) -> Any:
        """Call function(opened, *arguments) in the thread that solves, or as long work. Raises as `run_on` does."""
        if is_long:
            return await self.long(opened, function, *arguments)
        return await self.run_on(opened, function, opened, *arguments)

    async def long(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call function(opened, *arguments) in a process of its own, by `LongWork`: for what Python works on longer than a lookup may
        wait. The arguments and the result should be bytes or few. Raises as `run_on` does."""
        return await self._long.call(self._waiter, opened, self._long_work.call, opened.files, opened.without, function, *arguments)

    def close(self) -> None:
        self._solver.shutdown(wait=True, cancel_futures=True)
        self._waiter.shutdown(wait=True, cancel_futures=True)
        self._long_work.close()
        for pool in (self._maker, self._searcher):
            pool.shutdown(wait=False, cancel_futures=True)


class _Queue:
    """Calls that run or wait, WAITING at most; `said` is what the next one is told of them."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._n = 0

    async def call(self, pool: ThreadPoolExecutor, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._n >= WAITING:
            raise RequestError(f"{WAITING} {self._said}; ask again in a second", 429, {"retry-after": "1"})
        opened.hold()
        self._n += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        finally:
            self._n -= 1
            opened.let_go()
