"""catalog.db: every release, its models, metrics, checks and promotions, and what audits found, to be asked in SQL.

It is derived from the manifests and from the files that only grow. What it says of a pruned release it alone still knows, and
keeps for good; if it is lost, those rows are lost, and no others.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from schemas.errors import ReleaseError
from warehouse import journal
from warehouse.history import promotions, rolled_back
from warehouse.layout import Warehouse
from warehouse.locks import lock
from warehouse.release import current_id, read_manifest, sealed_ids

log = logging.getLogger("cinematch")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
GRAINS = {
    "releases": "one row per sealed release, those that were pruned since among them",
    "models": "one row per release and model",
    "metrics": "one row per release, model, protocol, metric and k",
    "verdicts": "one row per release and measure that its verdict rests on",
    "checks": "one row per release and check that was run before it was sealed",
    "promotions": "one row per promotion, oldest first",
    "findings": "one row per audit and question, per change that the data guard found, or per check that a release was not sealed for, oldest first",
}
KEYS: dict[str, str | tuple[str, ...]] = {
    "releases": "release",
    "models": ("release", "model"),
    "metrics": ("release", "model", "protocol", "metric", "k"),
    "verdicts": ("release", "metric"),
    "checks": ("release", "name"),
    "promotions": "position",
    "findings": "position",
}
OF_RELEASES = ("releases", "models", "metrics", "verdicts", "checks")
PROMOTION = ("at", "release", "previous", "served_model", "by", "reason", "verdict", "undoes")


def rebuild(warehouse: Warehouse) -> None:
    """Bring the catalogue in line with the manifests, and keep what it says of releases that are gone; it replaces the old one by
    one rename. One process at a time does it, so what a killed one left beside it is in nobody's use."""
    with lock(warehouse):
        aside = warehouse.catalog.with_name(f".{warehouse.catalog.name}.tmp")
        _clear(aside)
        try:
            _write(aside, _rows(warehouse))
            os.replace(aside, warehouse.catalog)
        finally:
            _clear(aside)


def _clear(aside: Path) -> None:
    """Remove a database that is half written, and its journal, which SQLite would play into the next of that name."""
    aside.unlink(missing_ok=True)
    aside.with_name(f"{aside.name}-journal").unlink(missing_ok=True)


def _rows(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table of the catalogue as it should be."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in GRAINS}
    now = current_id(warehouse)
    for name in sealed_ids(warehouse):
        try:
            manifest = read_manifest(warehouse.sealed(name))
        except ReleaseError:
            continue  # `releases list` shows it as damaged
        rows["releases"].append(
            {
                "release": name,
                "created_at": manifest.created_at,
                "as_of": manifest.as_of,
                "source": manifest.source,
                "served_model": manifest.served_model,
                "input_sha256": manifest.input["sha256"],
                **{f"n_{key}": n for key, n in manifest.rows.items()},
                **{f"verdict_{part}": manifest.verdict.get(part) for part in ("decision", "reason", "champion", "n_users")},
                "bytes": sum(file["bytes"] for file in manifest.files.values()),
            }
        )
        rows["models"] += [{"release": name, **model} for model in manifest.models]
        rows["metrics"] += [{"release": name, **metric} for metric in manifest.metrics]
        rows["checks"] += [{"release": name, **check} for check in manifest.check_rows]
        rows["verdicts"] += [{"release": name, **measure} for measure in manifest.verdict.get("measures", [])]
    known, here, undone = {row["release"] for row in rows["releases"]}, sealed_ids(warehouse), rolled_back(warehouse)
    for name in OF_RELEASES:
        rows[name] += [row for row in _before(warehouse, name) if row["release"] not in known]
    for row in rows["releases"]:
        undoing = undone.get(row["release"], {})
        row |= {"is_current": int(row["release"] == now), "is_pruned": int(row["release"] not in here)}
        row |= {"rolled_back_at": undoing.get("at"), "rolled_back_reason": undoing.get("reason")}
    for position, entry in enumerate(promotions(warehouse), 1):
        rows["promotions"].append({"position": position, **{part: entry.get(part) for part in PROMOTION}})
    rows["findings"] = [{"position": i, **entry} for i, entry in enumerate(journal.read(warehouse.findings), 1)]
    return rows


def _write(path: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    from sqlite_utils import Database  # imports pandas: only where the catalogue is written

    with closing(Database(path)) as database:
        for name, table_rows in rows.items():
            if table_rows:
                database.table(name).insert_all(table_rows, pk=KEYS[name], alter=True)


def problem(warehouse: Warehouse) -> str | None:
    """Return what is wrong with the file; None too if there is none, since the next release makes it anew."""
    if not warehouse.catalog.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{warehouse.catalog.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            (verdict,) = connection.execute("pragma quick_check(1)").fetchone()
    except (sqlite3.Error, OSError) as error:
        return f"{warehouse.catalog}: {error}; `cinematch audit` makes it anew"
    if verdict != "ok":
        return f"{warehouse.catalog}: {verdict}; `cinematch audit` makes it anew"
    return None if tables & {*GRAINS} or not tables else f"{warehouse.catalog}: it is no catalogue of releases"


def _before(warehouse: Warehouse, table: str) -> list[dict[str, Any]]:
    """The rows of a table of the catalogue as it was; none where there is no such table, and no catalogue that can be read."""
    if not warehouse.catalog.exists():
        return []
    with closing(sqlite3.connect(f"{warehouse.catalog.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            if not connection.execute("select 1 from sqlite_master where name = ?", [table]).fetchone():
                return []
            return [dict(row) for row in connection.execute(f"select * from {table}")]  # nosec B608  # a name that callers here write out
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                raise
            log.warning("%s is damaged (%s) and made anew; what it alone knew of pruned releases is lost", warehouse.catalog, error)
            return []
