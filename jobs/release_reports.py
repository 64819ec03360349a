"""What `cinematch releases list`, `show` and `compare` print."""

from __future__ import annotations

import argparse
import json

from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.settings import Settings
from warehouse import release as releases
from warehouse.history import rolled_back
from warehouse.layout import Warehouse


def listing(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    now, undone = releases.current_id(warehouse), rolled_back(warehouse)
    rows = []
    for name in reversed(releases.sealed_ids(warehouse)):
        try:
            row = _row(releases.read_manifest(warehouse.sealed(name)), is_current=name == now)
            rows.append(row | _undone(undone[name]) if name in undone else row)
        except ReleaseError as error:
            rows.append({"release": name, "status": f"damaged: {error}"})
    if parsed.json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print(f"no release in {warehouse.folder} yet; `cinematch run --source sample` builds one")
        return
    print(
        f"{'release':<20} {'status':<11} {'source':<10} {'model':<15} {'users':>9} {'items':>8} {'ratings':>11} {'MiB':>8}  created"
    )
    for row in rows:
        if "source" not in row:
            print(f"{row['release']:<20} {row['status']}")
            continue
        print(
            f"{row['release']:<20} {row['status']:<11} {row['source']:<10} {row['served_model']:<15} {row['n_users']:>9,} {row['n_items']:>8,} "
            f"{row['n_ratings']:>11,} {row['size_mib']:>8,.1f}  {row['created_at']}"
        )
        if "rolled_back_reason" in row:
            print(f"{'':<20} {row['rolled_back_at']}: {row['rolled_back_reason']}")


def _undone(undoing: dict) -> dict:
    """The mark of a release that was rolled back from."""
    return {"status": "rolled back", "rolled_back_at": undoing["at"], "rolled_back_reason": undoing["reason"]}


def _row(manifest: Manifest, *, is_current: bool) -> dict:
    return {
        "release": manifest.release,
        "status": "current" if is_current else "held back" if manifest.verdict.get("decision") == "hold back" else "sealed",
        "source": manifest.source,
        "served_model": manifest.served_model,
        "n_users": manifest.counts["users"],
        "n_items": manifest.counts["items"],
        "n_ratings": manifest.counts["ratings"],
        "size_mib": round(sum(f["bytes"] for f in manifest.files.values()) / 2**20, 2),
        "created_at": manifest.created_at,
    }


def shown(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    release = warehouse.sealed(parsed.release)
    manifest = releases.read_manifest(release)
    if parsed.json:
        print(manifest.to_json(), end="")
        return
    rows = manifest.rows
    print(
        f"release      {manifest.release}{'  (current)' if releases.current_id(warehouse) == manifest.release else ''}"
    )
    print(f"created at   {manifest.created_at}, as of {manifest.as_of}")
    print(
        f"input        {manifest.source}: {', '.join(file['name'] for file in manifest.input['files'])}  sha256 {manifest.input['sha256'][:16]}"
    )
    print(
        f"rows         {rows['read']:,} read = {rows['accepted']:,} accepted + {rows['duplicates']:,} duplicates + {rows['quarantined']:,} quarantined"
    )
    print(f"scale        {manifest.rating_scale or 'none: implicit feedback'}")
    print(f"served       {manifest.served_model}")
    for model in manifest.models:
        print(
            f"  model      {model['model']:<10} {model['status']:<8} {model['train_s']:>8.1f} s {model['size_mib']:>8.2f} MiB  {model['message']}"
        )
    for metric in manifest.metrics:
        print(
            f"  metric     {metric['model']:<10} {metric['metric']}@{metric['k']} = {metric['value']:.4f}{_interval(metric)} ({metric['n_users']:,} users, {metric['protocol']})"
        )
    for step in manifest.steps:
        print(f"  step       {step['step']:<10} {step['seconds_s']:>8.1f} s {step['peak_mib']:>8.0f} MiB peak")
    print(f"verdict      {manifest.verdict.get('decision', 'none')}: {manifest.verdict.get('reason', 'it was not judged')}")
    print(f"parity       {manifest.parity}")
    print(f"checks       {manifest.checks['n_checks']} run, {manifest.checks['n_failed']} failed")
    for name, table in manifest.tables.items():
        print(
            f"  table      {name:<16} {table['rows']:>12,} rows {table['bytes'] / 2**20:>9.2f} MiB  {table['content_sha256'][:16]}"
        )


def _interval(metric: dict) -> str:
    return "" if metric["low"] is None else f", {metric['low']:.4f} to {metric['high']:.4f}"


def compared(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse.compare import compare

    found = compare(warehouse, parsed.a, parsed.b)
    if parsed.user is not None:
        from jobs.changes import user_changes

        found["user_id"], found["changes"] = parsed.user, user_changes(warehouse, parsed.a, parsed.b, parsed.user)
    if parsed.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'':<44} {parsed.a:>28} {parsed.b:>28}")
    for row in found["rows"]:
        print(f"{row['figure']:<44} {_figure(row, 'a'):>28} {_figure(row, 'b'):>28}")
    print(
        f"{'items shared by the two top tens':<44} {found['mean_overlap_at_10']:>28.3f} of 1, over {found['n_users']:,} users"
    )
    for change in found.get("changes", []):
        came, rank = change["rank_before"] is None, change["rank_before"] or change["rank_now"]
        print(f"  {'came' if came else 'went'}  rank {rank:>2}  {change['item_id']}  {change['title']}: {change['cause']}")
    if not found.get("changes", True):
        print(f"  the first ten of user {parsed.user} are the same items")


def _figure(row: dict, place: str) -> str:
    bounds = f" ({_number(row[f'{place}_low'])} to {_number(row[f'{place}_high'])})" if f"{place}_low" in row else ""
    return _number(row[place]) + bounds


def _number(value) -> str:
    return (
        ""
        if value is None
        else f"{value:,.4f}".rstrip("0").rstrip(".")
        if isinstance(value, (int, float))
        else str(value)
    )
