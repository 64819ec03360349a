"""The threads of a server: one that solves, one that makes pages and other long answers, two that search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.opened import OpenRelease
from serving.response import RequestError

WAITING = 256


class Threads:
    """What takes long runs here, with its release kept open, so that lookups go on meanwhile."""

    def __init__(self) -> None:
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solve")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="make")
        self._searcher = ThreadPoolExecutor(2, thread_name_prefix="search")
        self._n_solving = 0
        self._n_others = 0

    async def run_on(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the kernels' side in the thread that solves. Raises RequestError (429) if too many wait."""
        if self._n_solving >= WAITING:
            raise RequestError(f"{WAITING} lists are being solved already; ask again in a second", 429, {"retry-after": "1"})
        self._n_solving += 1
        try:
            return await _call(self._solver, opened, function, *arguments)
        finally:
            self._n_solving -= 1

    async def aside(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes long but solves nothing, such as making a page, in a thread of its own. One is enough: each thread that
        runs Python makes the event loop wait for its turn. Raises as `run_on` does."""
        return await self._other(self._maker, opened, function, *arguments)

    async def search(self, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what waits for SQLite. Raises as `run_on` does."""
        return await self._other(self._searcher, opened, function, *arguments)

    async def _other(self, pool: ThreadPoolExecutor, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._n_others >= WAITING:
            raise RequestError(f"{WAITING} searches and pages wait already; ask again in a second", 429, {"retry-after": "1"})
        self._n_others += 1
        try:
            return await _call(pool, opened, function, *arguments)
        finally:
            self._n_others -= 1

    def close(self) -> None:
        self._solver.shutdown(wait=True, cancel_futures=True)
        for pool in (self._maker, self._searcher):
            pool.shutdown(wait=False, cancel_futures=True)


async def _call(pool: ThreadPoolExecutor, opened: OpenRelease, function: Callable[..., Any], *arguments: Any) -> Any:
    opened.hold()
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
    finally:
        opened.let_go()
