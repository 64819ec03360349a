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
from warehouse.measures import HELD_OUT, named
from warehouse.release import read_manifest

DEPTH = 10
HOLDING_OUT = ("seed", "holdout_users", "holdout_fraction", "holdout_least")
OTHER_ROWS = "The two releases have other held-out rows: their metrics are no measure of which is better, and have no difference"

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
    """Every figure of both, a row each with the bounds of its interval where it has one, what b has more than a where that says
    something, the mean share of a user's top ten that both have, and the tables whose content differs. Raises NotFound,
    ReleaseError."""
    manifests = {place: read_manifest(warehouse.sealed(name)) for place, name in (("a", a), ("b", b))}
    is_alike = _held_out(manifests["a"]) == _held_out(manifests["b"])
    rows: dict[str, dict[str, Any]] = {}
    for place, manifest in manifests.items():
        measured = _measured(manifest)
        for figure, values in (_figures(manifest) | measured).items():
            row = rows.setdefault(figure, {"figure": figure, "a": None, "b": None, "difference": None})
            row |= {f"{place}{end}": value for end, value in values.items()}
            if place == "b" and (is_alike or figure not in measured) and all(isinstance(row[p], (int, float)) for p in "ab"):
                row["difference"] = row["b"] - row["a"]
    judged = _judged(manifests["a"], manifests["b"])
    n_users, overlap = _shared(warehouse, a, b)
    return {
        "a": a,
        "b": b,
        "n_users": n_users,
        "mean_overlap_at_10": round(overlap, 4),
        "note": "" if is_alike else f"{OTHER_ROWS}{'; the verdict is of both on the same users' if judged else ''}.",
        "other_tables": _other_tables(manifests["a"], manifests["b"]),
        "rows": [*judged, *rows.values()],
    }


def _other_tables(a: Manifest, b: Manifest) -> list[str]:
    """Names of the tables whose rows are not those of the other release, by the digests of their content."""
    names = {*a.tables, *b.tables}
    return sorted(name for name in names if a.tables.get(name, {}).get("content_sha256") != b.tables.get(name, {}).get("content_sha256"))


def _held_out(manifest: Manifest) -> tuple[Any, ...]:
    """Return what decides which rows are held out."""
    return manifest.input["sha256"], manifest.rows, [manifest.settings.get(name) for name in HOLDING_OUT]


def _judged(a: Manifest, b: Manifest) -> list[dict[str, Any]]:
    """The measures of the verdict on one of two releases against the other, on the same users; none where there is no such verdict."""
    for challenger, champion, (ours, theirs), sign in ((b, a, "ba", 1), (a, b, "ab", -1)):
        if challenger.verdict.get("champion") == champion.release:
            return [
                {
                    "figure": f"verdict {measure['metric']}, {measure['n_users']:,} users of both",
                    ours: measure["challenger"],
                    theirs: measure["champion"],
                    "difference": sign * (measure["challenger"] - measure["champion"]),
                }
                for measure in challenger.verdict.get("measures", [])
                if measure["challenger"] is not None and measure["champion"] is not None
            ]
    return []


def _figures(manifest: Manifest) -> dict[str, dict[str, Any]]:
    figures = {"served model": manifest.served_model, "verdict": manifest.verdict.get("decision")}
    figures |= {f"rows {name}": n for name, n in manifest.rows.items()}
    figures |= {f"table {name}": n for name, n in manifest.counts.items()}
    figures |= {f"step {s['step']} seconds": s["seconds_s"] for s in manifest.steps}
    return {name: {"": value} for name, value in figures.items()}


def _measured(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """The metrics, which say something beside others of the same held-out rows alone."""
    rows = {}
    for metric in manifest.metrics:
        protocol = "" if metric["protocol"] == HELD_OUT else f" ({metric['protocol']})"
        bounds = {f"_{end}": metric[end] for end in ("low", "high") if metric[end] is not None}
        rows[f"{metric['model']} {named(metric['metric'], metric['k'])}{protocol}"] = {"": metric["value"], **bounds}
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
