"""Knowledge of users beyond the release that a server has open: what came in since, who asked to be forgotten, and lists solved since."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from schemas.settings import Settings
from serving.forgotten import ForgottenUsers
from serving.online import Online
from serving.opened import OpenRelease
from serving.request import Request
from serving.solve import solve_or_popular, Solved, stored_history
from serving.threads import Threads
from warehouse.layout import Warehouse
from warehouse.overlay import apply_log, Held

SOLVED_KEPT = 256


class Users:
    """Histories as they are now, and the lists that were solved from them."""

    def __init__(self, warehouse: Warehouse, settings: Settings, threads: Threads) -> None:
        self._threads = threads
        self._solved: OrderedDict[tuple[Any, ...], Solved] = OrderedDict()
        self._solving: dict[tuple[Any, ...], asyncio.Future[Any]] = {}
        self.forgotten = ForgottenUsers(warehouse.forgotten, self._forget_lists)
        self.online = Online(warehouse, is_read_only=settings.read_only, changed=self._forget_lists)

    def known_as(self, user_id: Any) -> Any:
        """The user as lookups may know them; None for one who asked to be forgotten."""
        return None if self.is_forgotten(user_id) else user_id

    def is_forgotten(self, user_id: Any) -> bool:
        """Whether the user is on the list of the forgotten, as it is this moment."""
        return user_id in self.forgotten

    def seq(self, request: Request, opened: OpenRelease, user_id: Any) -> int:
        """Sequence number of the user's last rating that the release does not contain; 0 if it has all, or is asked as it was sealed."""
        return 0 if request.is_sealed else self.online.user_seq(opened, user_id)

    def held(self, opened: OpenRelease, user_id: Any, seq: int) -> dict[Any, Held]:
        """Return what a user has, by item: the release's rows with what came in since, up to seq, folded over them. From any thread."""
        arrived = self.online.of_user(opened, user_id, upto=seq) if seq else []
        return apply_log(stored_history(opened, user_id), arrived, is_implicit=not opened.has_ratings)

    def items_since(self, user_id: Any, seq: int, since: int) -> frozenset[Any]:
        """Items that the user got after seq; `since` is the number of their last rating."""
        if user_id is None or since <= seq:
            return frozenset()
        return frozenset(entry.item_id for entry in self.online.of_user_after(user_id, seq) if not entry.is_deleted)

    async def solved(self, opened: OpenRelease, user_id: Any, seq: int, n: int) -> Solved:
        """The user's list, solved once for each state of the history; requests that wait for the same one share it."""
        key = (opened.tag, user_id, seq, n)
        solved = self._solved.get(key)
        if solved is not None:
            self._solved.move_to_end(key)
            return solved
        if key not in self._solving:
            self._solving[key] = asyncio.ensure_future(self._solve(key, opened))
        return await asyncio.shield(self._solving[key])

    async def _solve(self, key: tuple[Any, ...], opened: OpenRelease) -> Solved:
        try:
            solved = await self._threads.run_on(opened, self._solve_now, opened, *key[1:])
        finally:
            del self._solving[key]
        self._solved[key] = solved
        if len(self._solved) > SOLVED_KEPT:
            self._solved.popitem(last=False)
        return solved

    def _solve_now(self, opened: OpenRelease, user_id: Any, seq: int, n: int) -> Solved:
        return solve_or_popular(opened, self.held(opened, user_id, seq), n=n)

    def _forget_lists(self) -> None:
        """Solve every list again: something else decides over them now."""
        self._solved.clear()
