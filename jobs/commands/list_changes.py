"""Changes of a user's list from one release to another: what came, what went, and why."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, ExitStack
from typing import Any

from jobs.kernels.evaluation.changes import changes, Lists
from jobs.kernels.recommender import Recommender
from jobs.staging.item_side import recommender_of
from schemas.errors import NotFound
from schemas.setting_groups import OFF, ONLY
from warehouse.layout import Warehouse
from warehouse.overlay import stored
from warehouse.release import read_manifest
from warehouse.sqlite import open_immutable


def user_changes(warehouse: Warehouse, a: str, b: str, user: str, *, n: int = 10) -> list[dict[str, Any]]:
    """One row an item that is in the first n of one list alone: title, both ranks, cause. Raises NotFound if neither
    release knows the user."""
    releases = [warehouse.sealed(name) for name in (a, b)]
    manifests = [read_manifest(release) for release in releases]
    recommenders = [recommender_of(release, manifest) for release, manifest in zip(releases, manifests)]
    users = [manifest.id_types.parse("user_id", user) for manifest in manifests]
    with ExitStack() as stack:
        databases = [stack.enter_context(closing(open_immutable(release.database))) for release in releases]
        has = [_items(database.execute("select item_id from ratings where user_id = ?", [one])) for database, one in zip(databases, users)]
        if not any(has):
            raise NotFound(f"user {user!r}: has no interaction in release {a} nor in {b}")
        lists = Lists(
            before=_top(recommenders[0], databases[0], users[0], n),
            now=_top(recommenders[1], databases[1], users[1], n),
            new_history=_top(recommenders[0], databases[1], users[1], n),
            new_side=_top(recommenders[1], databases[0], users[0], n),
        )
        listable = [_items(database.execute("select item_id from items where is_blocked = 0")) for database in databases]
        repeats = [manifest.settings.get("repeats", OFF) for manifest in manifests]
        rated = [items if one == OFF else set() for items, one in zip(has, repeats)]
        listable = [items & own if one == ONLY else items for items, own, one in zip(listable, has, repeats)]
        all_changes = changes(lists, rated=(rated[0], rated[1]), listable=(listable[0], listable[1]))
        return [change._asdict() | {"title": _title(databases, change.item_id)} for change in all_changes]


def _top(recommender: Recommender, database: sqlite3.Connection, user: Any, n: int) -> list:
    """Item ids of the list that a release computes from the history that a database, its own or another's, holds."""
    history = recommender.history(stored(database, user))
    lists = recommender.lists(history, n=max(n, recommender.n), explain_n=0)
    return recommender.item_ids[lists.items[:n]].tolist()


def _items(rows: Iterable) -> set:
    return {row[0] for row in rows}


def _title(databases: list, item: Any) -> str | None:
    for database in reversed(databases):
        row = database.execute("select title from items where item_id = ?", [item]).fetchone()
        if row:
            return row[0]
    return None
