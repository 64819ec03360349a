"""Two releases side by side: counts, metrics with their intervals, and how much of the users' top tens they share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

from schemas.manifest import Manifest
from warehouse.layout import Warehouse
from warehouse.release import read_manifest

DEPTH = 10

_OVERLAP = """
with shared as (
  select a.user_id, count(*) as n
  from a.recommendations a cross join b.recommendations b on b.user_id = a.user_id and b.rank <= :depth and b.item_id = a.item_id
  where a.rank <= :depth group by a.user_id
), both_users as (
  select count(*) as n from a.users a where exists (select 1 from b.users b where b.user_id = a.user_id)
)
select both_users.n as n_users, coalesce((select sum(n) from shared), 0) as n_shared from both_users
"""


def compare(warehouse: Warehouse, a: str, b: str) -> dict[str, Any]:
    """Every figure of both, a row each with the bounds of its interval where it has one, and the mean share of a user's top
    ten that both have. Raises NotFound, ReleaseError."""
    rows: dict[str, dict[str, Any]] = {}
    for place, name in (("a", a), ("b", b)):
        for figure, found in _figures(read_manifest(warehouse.sealed(name))).items():
            row = rows.setdefault(figure, {"figure": figure, "a": None, "b": None})
            row |= {f"{place}{end}": value for end, value in found.items()}
    n_users, overlap = _shared(warehouse, a, b)
    return {"a": a, "b": b, "n_users": n_users, "mean_overlap_at_10": round(overlap, 4), "rows": list(rows.values())}


def _figures(manifest: Manifest) -> dict[str, dict[str, Any]]:
    found = {"served model": manifest.served_model, "verdict": manifest.verdict.get("decision")}
    found |= {f"rows {name}": n for name, n in manifest.rows.items()}
    found |= {f"table {name}": n for name, n in manifest.counts.items()}
    found |= {f"step {s['step']} seconds": s["seconds_s"] for s in manifest.steps}
    rows = {name: {"": value} for name, value in found.items()}
    for metric in manifest.metrics:
        protocol = "" if metric["protocol"] == "held_out_last" else f" ({metric['protocol']})"
        name = f"{metric['model']} {metric['metric']}{'@' + str(metric['k']) if metric['k'] else ''}{protocol}"
        bounds = {f"_{end}": metric[end] for end in ("low", "high") if metric[end] is not None}
        rows[name] = {"": metric["value"], **bounds}
    return rows


def _shared(warehouse: Warehouse, a: str, b: str) -> tuple[int, float]:
    n_users = n_shared = 0
    for pair in _pairs(*(warehouse.sealed(name).user_databases for name in (a, b))):
        with closing(sqlite3.connect(":memory:", uri=True)) as connection:
            for alias, path in zip("ab", pair):
                uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
                connection.execute(f"attach database ? as {alias}", [uri])
            users, shared = connection.execute(_OVERLAP, {"depth": DEPTH}).fetchone()
        n_users, n_shared = n_users + users, n_shared + shared
    return n_users, n_shared / (n_users * DEPTH) if n_users else 0.0


def _pairs(a: list[Path], b: list[Path]) -> Iterable[tuple[Path, Path]]:
    """Databases that can have users in common: as many shards on either side hold the same users each."""
    return zip(a, b) if len(a) == len(b) else product(a, b)
