"""The history of a warehouse: what was promoted, in which order, and what a rollback has undone since.

promoted A, B, C; rolled back to B; promoted D     standing: A, B, D     rolled back: C
"""

from __future__ import annotations

from typing import Any

from warehouse import journal
from warehouse.layout import Warehouse

NOT_PROMOTED_KEPT = 2  # newest releases that are not promoted, kept to be looked at


def promotions(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every promotion, oldest first."""
    return journal.read(warehouse.promotions)


def standing(warehouse: Warehouse, now: str | None) -> list[str]:
    """Releases whose promotion no rollback has undone, oldest first; the last is `now`, the current one."""
    path: list[str] = []
    for entry in promotions(warehouse):
        if entry["undoes"] is None:
            path.append(entry["release"])
        else:
            while path and path[-1] != entry["release"]:
                path.pop()
    while path and path[-1] != now:  # noted, but killed before the pointer moved
        path.pop()
    return path


def rolled_back(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Releases that were rolled back from and not promoted again since, each with the promotion that undid its own."""
    by_release: dict[str, dict[str, Any]] = {}
    for entry in promotions(warehouse):
        by_release.pop(entry["release"], None)
        if entry["undoes"] is not None:
            by_release[entry["undoes"]] = entry
    return by_release


def prunable(warehouse: Warehouse, sealed: list[str], now: str | None, *, keep: int) -> dict[str, str]:
    """Return the sealed releases, oldest first, that need not be kept, each with the reason.

    Kept are the last `keep` that were promoted, the current one and the one to roll back to always among them, and the newest
    two of the others. Where no promotion is recorded, every release counts as promoted.
    """
    promoted = list(dict.fromkeys(reversed([name for name in standing(warehouse, now) or sealed if name in sealed])))
    others = [name for name in sealed if name not in promoted]
    kept = {now, *promoted[: max(keep, 2)], *others[-NOT_PROMOTED_KEPT:]}
    older = f"promoted before the last {max(keep, 2)}"
    return {name: older if name in promoted else "not promoted" for name in [*others, *reversed(promoted)] if name not in kept}
