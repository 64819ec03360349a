"""Two releases side by side: counts, metrics, and how much of the users' top tens they share."""

from __future__ import annotations

import sqlite3
from typing import Any

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
select both_users.n as n_users, coalesce((select sum(n) from shared), 0) * 1.0 / (both_users.n * :depth) as overlap from both_users
"""


def compare(warehouse: Warehouse, a: str, b: str) -> dict[str, Any]:
    """Figures of both, name to (a, b), and the mean share of a user's top ten that both have. Raises NotFound, ReleaseError."""
    manifests = [read_manifest(warehouse.sealed(name)) for name in (a, b)]
    figures: dict[str, list[Any]] = {}
    for place, manifest in enumerate(manifests):
        found = {f"rows {name}": n for name, n in manifest.rows.items()}
        found |= {f"table {name}": n for name, n in manifest.counts.items()}
        found |= {f"{m['model']} {m['metric']}@{m['k']}": m["value"] for m in manifest.metrics}
        found |= {f"step {s['step']} seconds": s["seconds_s"] for s in manifest.steps}
        for name, value in found.items():
            figures.setdefault(name, [None, None])[place] = value
    connection = sqlite3.connect(":memory:", uri=True)
    try:
        for alias, name in (("a", a), ("b", b)):
            uri = f"{warehouse.sealed(name).database.resolve().as_uri()}?mode=ro&immutable=1"
            connection.execute(f"attach database ? as {alias}", [uri])
        n_users, overlap = connection.execute(_OVERLAP, {"depth": DEPTH}).fetchone()
    finally:
        connection.close()
    return {"a": a, "b": b, "n_users": n_users, "mean_overlap_at_10": round(overlap or 0.0, 4), "figures": figures}
