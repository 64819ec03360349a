"""What came into a user's list from one release to another, what went, and why."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs import item_side
from jobs.kernels import lists as kernel
from jobs.kernels.changes import changes, Lists
from jobs.parity import history_of
from schemas.errors import NotFound
from schemas.manifest import Manifest
from warehouse import item_side as item_side_files
from warehouse.layout import Release, Warehouse
from warehouse.release import read_manifest
from warehouse.sqlite import open_immutable


@dataclass(frozen=True)
class _Side:
    """A sealed release as it computes a list from anybody's history."""

    release: Release
    manifest: Manifest
    item_ids: np.ndarray

    @classmethod
    def open(cls, release: Release) -> _Side:
        return cls(release, read_manifest(release), item_side_files.load(release.model("items"))[0]["item_ids"])

    def top(self, connection, user: Any, n: int) -> list:
        """Item ids of the list of the history that a database (of this release or the other) holds."""
        history = history_of(connection, user, self.item_ids, self.manifest.rating_scale)
        side, settings = item_side.load(self.release, self.manifest.served_model), self.manifest.settings
        found = kernel.recommend(side, history, n=max(n, settings["n"]), explain_n=0, reasons_n=0, min_history=settings["min_history"])
        return self.item_ids[found.items[:n]].tolist()


def user_changes(warehouse: Warehouse, a: str, b: str, user: str, *, n: int = 10) -> list[dict[str, Any]]:
    """One row an item that is in the first n of one list alone: title, both ranks, cause. Raises NotFound where neither
    release knows the user."""
    sides = [_Side.open(warehouse.sealed(name)) for name in (a, b)]
    users = [side.manifest.id_types.parse("user_id", user) for side in sides]
    with ExitStack() as stack:
        databases = [stack.enter_context(closing(open_immutable(side.release.database))) for side in sides]
        has = [_items(database.execute("select item_id from ratings where user_id = ?", [one])) for database, one in zip(databases, users)]
        if not any(has):
            raise NotFound(f"user {user!r}: has no interaction in release {a} nor in {b}")
        lists = Lists(
            before=sides[0].top(databases[0], users[0], n),
            now=sides[1].top(databases[1], users[1], n),
            new_history=sides[0].top(databases[1], users[1], n),
            new_side=sides[1].top(databases[0], users[0], n),
        )
        listable = [_items(database.execute("select item_id from items where is_blocked = 0")) for database in databases]
        found = changes(lists, rated=(has[0], has[1]), listable=(listable[0], listable[1]))
        return [change._asdict() | {"title": _title(databases, change.item_id)} for change in found]


def _items(rows: Iterable) -> set:
    return {row[0] for row in rows}


def _title(databases: list, item: Any) -> str | None:
    for database in reversed(databases):
        row = database.execute("select title from items where item_id = ?", [item]).fetchone()
        if row:
            return row[0]
    return None
