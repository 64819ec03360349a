"""Releases removed: those that need not be kept, those that name forgotten users, and those that somebody names."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta, UTC
from pathlib import Path

from schemas.errors import NotFound, ReleaseError, UsageError
from warehouse import forgotten
from warehouse.history import prunable, standing
from warehouse.layout import Warehouse
from warehouse.locks import lock
from warehouse.release import current_id, read_manifest, sealed_ids

_REMOVED = ".removed"


def to_prune(warehouse: Warehouse, *, keep: int, keep_days: int = 0) -> dict[str, str]:
    """Return what pruning would remove, each release with the reason why it need not be kept."""
    sealed, now = sealed_ids(warehouse), current_id(warehouse)
    reasons = prunable(warehouse, sealed, now, keep=keep)
    if keep_days:
        before = datetime.now(UTC) - timedelta(days=keep_days)
        stay = {now, *[name for name in standing(warehouse, now) if name in sealed and name != now][-1:]}
        reasons |= {
            name: f"older than {keep_days} days"
            for name in sealed
            if name not in stay | reasons.keys() and _is_older(warehouse, name, before)
        }
    return reasons


def _is_older(warehouse: Warehouse, name: str, than: datetime) -> bool:
    """Whether a release was built before a time; one that cannot be read is kept, to be looked at."""
    try:
        return datetime.fromisoformat(read_manifest(warehouse.sealed(name)).created_at) < than
    except ReleaseError:
        return False


def prune(warehouse: Warehouse, *, keep: int, keep_days: int = 0) -> dict[str, str]:
    """Remove what need not be kept; returns the releases removed, each with the reason."""
    with lock(warehouse):
        doomed = to_prune(warehouse, keep=keep, keep_days=keep_days)
        _take_away(warehouse, doomed)
    return doomed


def naming_forgotten(warehouse: Warehouse) -> dict[str, str]:
    """The sealed releases but the current one that name users who were forgotten, or may: what cannot be looked into."""
    known, now, reasons = forgotten.read(warehouse.forgotten), current_id(warehouse), {}
    for name in sealed_ids(warehouse) if known else ():
        try:
            is_named = name != now and forgotten.names_any(warehouse.sealed(name), known)
        except (ReleaseError, sqlite3.Error):
            reasons[name] = "cannot be looked into for forgotten users"
            continue
        if is_named:
            reasons[name] = "names forgotten users"
    return reasons


def prune_forgotten(warehouse: Warehouse) -> dict[str, str]:
    """Remove those releases, however few are kept."""
    with lock(warehouse):
        doomed = naming_forgotten(warehouse)
        _take_away(warehouse, doomed)
    return doomed


def droppable(warehouse: Warehouse, names: Iterable[str]) -> dict[str, str]:
    """The releases named, whatever would be kept otherwise. Raises NotFound, and UsageError for the current one."""
    for name in names:
        if name not in sealed_ids(warehouse):
            raise NotFound(f"release {name}: not in {warehouse.releases}; nothing was removed")
        if name == current_id(warehouse):
            raise UsageError(f"release {name} is the current one; promote another first. Nothing was removed")
    return dict.fromkeys(names, "named")


def drop(warehouse: Warehouse, names: Iterable[str]) -> dict[str, str]:
    """Remove the releases named, all or none; returns them."""
    with lock(warehouse):
        doomed = droppable(warehouse, names)
        _take_away(warehouse, doomed)
    return doomed


def _take_away(warehouse: Warehouse, names: Iterable[str]) -> None:
    """Out of sight by one rename each, then removed."""
    for name in names:
        folder = warehouse.sealed(name).folder
        folder.chmod(stat.S_IRWXU)
        warehouse.staging.mkdir(exist_ok=True)
        os.rename(folder, warehouse.staging / f"{name}{_REMOVED}")
    finish_removals(warehouse)


def finish_removals(warehouse: Warehouse) -> None:
    """Remove what pruning took out of sight; a crash may have cut an earlier one short."""
    for folder in warehouse.staging.glob(f"*{_REMOVED}"):
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder of a release that is not, or no longer, to be seen; read-only or not."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
