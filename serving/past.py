"""Sealed releases that somebody asks for by name: opened when they are, and as many at most as memory and files are kept for."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from schemas.errors import CineMatchError, NotFound
from serving.file_stamp import Stamp, stamp_of
from serving.gives_way import let_thread_give_way
from serving.opened import OpenRelease
from serving.response import RequestError
from serving.verify import open_verified
from warehouse import history
from warehouse.layout import is_id, RESERVED, Warehouse
from warehouse.signature import Trusted

OPEN = 3  # besides the one that answers and the one before it
WANTED = 4  # of those that are not open, how many may be waited for at a time


class _Kept(NamedTuple):
    opened: OpenRelease
    manifest: Stamp | None


class Past:
    """OPEN releases at most. One is opened at a time, by a thread that gives way to lookups, and makes room for itself: the one that was
    asked least recently is closed, but none that is being asked. One that was pruned is closed when its last request has ended."""

    def __init__(self, warehouse: Warehouse, trusted: Trusted, hidden: Callable[[], frozenset[str]]) -> None:
        self._warehouse, self._trusted, self._hidden = warehouse, trusted, hidden
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._retired: list[OpenRelease] = []  # that are being asked still
        self._wanted: Counter[str] = Counter()
        self._opening = asyncio.Lock()
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="open", initializer=let_thread_give_way)

    async def take(self, release_id: str) -> OpenRelease:
        """The release, held. Raises NotFound or ReleaseError where it is not there or not whole, RequestError where too many others are
        asked (503) or waited for (429)."""
        opened = self._found(release_id)
        if opened is not None:
            self._kept.move_to_end(release_id)
            return opened.hold()
        if not (is_id(release_id) and self._warehouse.sealed(release_id).folder.exists()):
            raise not_here(self._warehouse, release_id)
        if release_id not in self._wanted and len(self._wanted) >= WANTED:
            raise RequestError(f"{WANTED} other releases are waited for already; ask again in a second", 429, {"retry-after": "1"})
        self._wanted[release_id] += 1
        try:
            async with self._opening:
                opened = self._found(release_id) or await self._open(release_id)
                return opened.hold()
        finally:
            self._wanted[release_id] -= 1
            if not self._wanted[release_id]:
                del self._wanted[release_id]

    def gone(self, opened: OpenRelease) -> NotFound | None:
        """Why a request that holds a release cannot go on, where that was removed meanwhile."""
        return None if opened.files.manifest.exists() else not_here(self._warehouse, opened.id)

    def look(self) -> None:
        """Let go of what was pruned, is another release of the same name by now, or shows what is hidden."""
        for release_id in list(self._kept):
            self._found(release_id)

    def _found(self, release_id: str) -> OpenRelease | None:
        """The release where it is open, still that of the warehouse, and without what is hidden."""
        kept = self._kept.get(release_id)
        if kept is None:
            return None
        if (stamp_of(self._warehouse.sealed(release_id).manifest), self._hidden()) != (kept.manifest, kept.opened.without):
            del self._kept[release_id]
            kept.opened.retire()
            if kept.opened.is_used:
                self._retired.append(kept.opened)
            return None
        return kept.opened

    async def _open(self, release_id: str) -> OpenRelease:
        self._make_room()
        release = self._warehouse.sealed(release_id)
        manifest = stamp_of(release.manifest)
        opened = await asyncio.get_running_loop().run_in_executor(self._opener, open_verified, release, self._trusted, self._hidden())
        self._kept[release_id] = _Kept(opened, manifest)
        return opened

    def _make_room(self) -> None:
        """Close what is not being asked, the least recently asked first, until one more may be open."""
        self._retired = [opened for opened in self._retired if opened.is_used]
        for release_id, kept in list(self._kept.items()):
            if len(self._kept) + len(self._retired) < OPEN:
                return
            if not kept.opened.is_used:
                del self._kept[release_id]
                kept.opened.retire()
        if len(self._kept) + len(self._retired) >= OPEN:
            raise RequestError(f"{OPEN} other releases are being asked; ask again in a second", 503, {"retry-after": "1"})

    def close(self) -> None:
        self._opener.shutdown(wait=True, cancel_futures=True)
        for kept in self._kept.values():
            kept.opened.retire()


def not_here(warehouse: Warehouse, name: str) -> NotFound:
    """Why a release cannot be asked for, as far as that is known."""
    said = "not in this warehouse"
    if is_id(name) and name not in RESERVED:
        if warehouse.staged(name).folder.exists():
            said = "is being built, and not sealed yet"
        try:
            promoted = [entry["at"] for entry in history.promotions(warehouse) if entry["release"] == name]
        except (CineMatchError, OSError, ValueError, LookupError, TypeError):  # a journal that cannot be read
            promoted = []
        if promoted:
            said = f"was promoted at {promoted[-1]}, and has been removed since"
    return NotFound(f"release {name[:100]!r}: {said}; /releases lists those that are here")
