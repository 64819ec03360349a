"""Two releases side by side: counts, metrics with their intervals, settings, and what became of the users' top tens."""

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
MOVED = 10  # items that went most into first tens, and as many that went out
HOLDING_OUT = ("seed", "holdout_users", "holdout_fraction", "holdout_least")
OTHER_ROWS = "The two releases have other held-out rows: their metrics are no measure of which is better, and have no difference"

_OVERLAP = """
with shared as (
  select a.user_id, count(*) as n
  from a.recommendations a cross join b.recommendations b on b.user_id = a.user_id and b.rank <= :depth and b.item_id = a.item_id
  where a.rank <= :depth group by a.user_id
), both_users as (
  select user_id from a.users a where exists (select 1 from b.users b where b.user_id = a.user_id)
)
select coalesce(shared.n, 0), count(*) from both_users left join shared using (user_id) group by 1
"""
_MOVED = """
with counted as (
  select item_id, sum(in_a) as in_a, sum(in_b) as in_b
  from (select item_id, n_first_tens as in_a, 0 as in_b from a.item_lists union all select item_id, 0, n_first_tens from b.item_lists)
  group by item_id
)
select c.item_id, coalesce(b.title, a.title), c.in_a, c.in_b
from counted c left join a.items a using (item_id) left join b.items b using (item_id)
where (c.in_b - c.in_a) * :sign > 0 order by (c.in_b - c.in_a) * :sign desc, c.item_id limit :most
"""


def compare(warehouse: Warehouse, a: str, b: str) -> dict[str, Any]:
    """Every figure of both, a row each with the bounds of its interval where it has one, and what b has more than a where that says
    something. Beside them how many users keep how many items of their top ten, the items that are in more or fewer top tens, and
    the settings and tables that differ. Raises NotFound, ReleaseError."""
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
    by_shared = _by_shared(warehouse, a, b)
    n_users, n_shared = sum(by_shared), sum(shared * n for shared, n in enumerate(by_shared))
    return {
        "a": a,
        "b": b,
        "n_users": n_users,
        "mean_overlap_at_10": round(n_shared / (n_users * DEPTH), 4) if n_users else 0.0,
        "users_by_shared": by_shared,
        "risen": _moved(warehouse, a, b, 1),
        "fallen": _moved(warehouse, a, b, -1),
        "other_settings": other_settings(manifests["a"], manifests["b"]),
        "note": "" if is_alike else f"{OTHER_ROWS}{'; the verdict is of both on the same users' if judged else ''}.",
        "other_tables": _other_tables(manifests["a"], manifests["b"]),
        "rows": [*judged, *rows.values()],
    }


def other_settings(a: Manifest, b: Manifest) -> list[dict[str, Any]]:
    """Settings that are not those of the other release, with both values; None where a release knows no such setting."""
    names = sorted({*a.settings, *b.settings})
    pairs = ((name, a.settings.get(name), b.settings.get(name)) for name in names)
    return [{"setting": name, "a": of_a, "b": of_b} for name, of_a, of_b in pairs if of_a != of_b]


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


def _by_shared(warehouse: Warehouse, a: str, b: str) -> list[int]:
    """How many users of both have 0, 1 and so on up to all items of their top ten in both."""
    counted = [0] * (DEPTH + 1)
    for pair in _pairs(*(warehouse.sealed(name).user_databases for name in (a, b))):
        for shared, n_users in _rows_of_both(*pair, _OVERLAP, {"depth": DEPTH}):
            counted[shared] += n_users
    return counted


def _moved(warehouse: Warehouse, a: str, b: str, sign: int) -> list[dict[str, Any]]:
    """The items that are in the most top tens more (1) or fewer (-1), with their number in both; none where a release does not count them."""
    first, second = (warehouse.sealed(name) for name in (a, b))
    if not all("item_lists" in read_manifest(release).counts for release in (first, second)):
        return []
    rows = _rows_of_both(first.database, second.database, _MOVED, {"sign": sign, "most": MOVED})
    return [dict(zip(("item_id", "title", "a", "b"), row)) for row in rows]


def _rows_of_both(a: Path, b: Path, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Rows of a question about two databases, `a` and `b`."""
    with closing(sqlite3.connect(":memory:", uri=True)) as connection:
        for alias, path in (("a", a), ("b", b)):
            connection.execute(f"attach database ? as {alias}", [f"{path.resolve().as_uri()}?mode=ro&immutable=1"])
        return connection.execute(sql, values).fetchall()


def _pairs(a: list[Path], b: list[Path]) -> Iterable[tuple[Path, Path]]:
    """Databases that can have users in common: as many shards on either side hold the same users each."""
    return zip(a, b) if len(a) == len(b) else product(a, b)
