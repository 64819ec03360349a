"""The releases that a server has open: the one that answers, the one before it for the pages that it began, and some that are asked for by name."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from weakref import WeakKeyDictionary

from schemas.errors import ReleaseError
from schemas.settings import Settings
from serving.opened import OpenRelease
from serving.past import Past
from serving.request import Request, Token
from serving.response import RequestError
from serving.verify import open_verified
from warehouse import hidden, signature
from warehouse.forgotten import Forgotten
from warehouse.layout import Warehouse
from warehouse.promotion import last_promoted
from warehouse.release import current, current_id, named

DAY = 86_400


class Releases:
    """`current` answers, `previous` for a while after a swap, and those of `past` where a request names them. `pointer` is what the
    warehouse names, and `problem` why that is not what answers, where it is not. `hidden` are the ids, as text, of what no list may
    hold. `compared` keeps comparisons of two releases by their ids, and `refused` why rows of an open one were refused, with the users
    that were forgotten then."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self._warehouse = warehouse
        self._stale_after_s = settings.stale_after_days * DAY
        pointer, self.problem = _pointed(warehouse)
        self.pointer: str | None = pointer
        self.trusted = signature.trusted(settings.trusted_keys)
        self.hidden: frozenset[str] = frozenset()
        self.hidden_problem: str | None = None
        self.look_at_hidden()
        self.current = open_verified(warehouse.sealed(pointer), self.trusted, self.hidden)
        self.previous: OpenRelease | None = None
        self.compared: dict[tuple[str, str], dict[str, Any]] = {}
        self.refused: WeakKeyDictionary[OpenRelease, tuple[Forgotten, asyncio.Future[list[dict[str, Any]]]]] = WeakKeyDictionary()
        self.past = Past(warehouse, self.trusted, lambda: self.hidden)

    def look_at_hidden(self) -> None:
        """Read again what is hidden. A list that was known is not given up for one that is damaged or gone."""
        try:
            if self.hidden and not self._warehouse.hidden.exists():
                raise ReleaseError(
                    f"{self._warehouse.hidden}: the list of hidden items is gone; put it back. Until then those known stay hidden"
                )
            self.hidden, self.hidden_problem = frozenset(hidden.read(self._warehouse)), None
        except ReleaseError as error:
            self.hidden_problem = str(error)

    async def asked(self, name: str) -> OpenRelease:
        """The sealed release of an id, `current` or `latest`, held. Raises NotFound, or as `Past.take` does."""
        release_id = self.current.id if name == "current" else named(self._warehouse, name)
        opened = self._answering(release_id)
        return await self.past.take(release_id) if opened is None else opened.hold()

    def pinned(self, request: Request, token: Token) -> OpenRelease:
        """The open release that a page token names. Raises RequestError if that is not served, or not the one that is asked for."""
        if request.is_sealed:
            if token.release == request.opened.id:
                return request.opened
            raise RequestError(
                f"next: is a page of release {token.release}, and release asks for {request.opened.id}; ask for one of the two"
            )
        opened = self._answering(token.release)
        if opened is None:
            raise RequestError(f"next: release {token.release} is no longer served; ask for the first page again", 410)
        return opened

    def _answering(self, release_id: str) -> OpenRelease | None:
        """The release of an id, if it answers without being named."""
        return next((opened for opened in (self.current, self.previous) if opened is not None and opened.id == release_id), None)

    def is_stale(self, opened: OpenRelease) -> bool:
        return opened.age_s(time.time()) > self._stale_after_s

    def personal_tag(self, opened: OpenRelease, user_id: Any, seq: int | str) -> str:
        """The entity tag of what a user is told: it changes with the release and what is hidden, with each rating, and when they are
        forgotten."""
        return f"{opened.tag}.{'unknown' if user_id is None else seq}{'.s' if self.is_stale(opened) else ''}"

    def close(self) -> None:
        self.past.close()
        for opened in (self.previous, self.current):
            if opened is not None:
                opened.retire()


def _pointed(warehouse: Warehouse) -> tuple[str, str | None]:
    """The release to begin with, and what is wrong with the pointer: where that is damaged or gone, the one promoted last is
    served. Raises NotFound if none was, ReleaseError where it is not known."""
    try:
        release_id, problem = current_id(warehouse), f"{warehouse.current} is gone"
    except ReleaseError as error:
        release_id, problem = None, str(error)
        if last_promoted(warehouse) is None:
            raise
    return (release_id, None) if release_id else (last_promoted(warehouse) or current(warehouse)[0].id, problem)
