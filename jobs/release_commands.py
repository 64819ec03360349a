"""`cinematch releases ...`: look at, verify, move and remove releases."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from jobs.arguments import add_command, settings_of
from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.settings import resolve, Settings
from warehouse import archive, release as releases
from warehouse.layout import Release, Warehouse

COMMANDS = {
    "list": ("Sealed releases, newest first.", (), "cinematch releases list"),
    "show": ("What the manifest says of a release.", ("release",), "cinematch releases show 20260104T020000Z"),
    "compare": (
        "Two releases side by side.",
        ("a", "b"),
        "cinematch releases compare 20260104T020000Z 20260111T020000Z",
    ),
    "verify": (
        "Digests, checks and sampled lists of a release, computed again.",
        ("release",),
        "cinematch releases verify 20260104T020000Z",
    ),
    "promote": (
        "Make a sealed release the one that is served.",
        ("release",),
        "cinematch releases promote 20260104T020000Z --reason 'checked by hand'",
    ),
    "rollback": ("Go back to the release that was current before.", (), "cinematch releases rollback"),
    "prune": ("Remove all but the newest releases and the current one.", (), "cinematch releases prune --keep 5"),
    "export": (
        "Write a release to one file.",
        ("release", "file"),
        "cinematch releases export 20260104T020000Z /backups",
    ),
    "import": (
        "Read a release from such a file, and verify it before it shows.",
        ("file",),
        "cinematch releases import 20260104T020000Z.cinematch.zip",
    ),
}


def add_to(commands) -> None:
    top = commands.add_parser(
        "releases", help="List, show, compare, verify, promote, roll back, prune, export and import releases."
    )
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (sentence, arguments, example) in COMMANDS.items():
        action = add_command(actions, name, sentence, example=example, settings_of="releases")
        for argument in arguments:
            action.add_argument(argument, type=Path if argument == "file" else str)
        if name == "promote":
            action.add_argument("--reason", default="", help="why; kept in the catalogue, and needed for what was held back")
        if name == "compare":
            action.add_argument("--user", help="also what came into this user's first ten, what went, and why")
        if name in ("list", "show", "compare"):
            action.add_argument("--json", action="store_true", help="as JSON")
        action.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> None:
    settings = settings_of(parsed)
    warehouse = Warehouse(Path(settings.warehouse))
    globals()[f"_{parsed.action}"](parsed, warehouse, settings)


def _list(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    now = releases.current_id(warehouse)
    rows = []
    for name in reversed(releases.sealed_ids(warehouse)):
        try:
            rows.append(_row(releases.read_manifest(warehouse.sealed(name)), is_current=name == now))
        except ReleaseError as error:
            rows.append({"release": name, "status": f"damaged: {error}"})
    if parsed.json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print(f"no release in {warehouse.folder} yet; `cinematch run --source sample` builds one")
        return
    print(
        f"{'release':<20} {'status':<8} {'source':<10} {'model':<6} {'users':>9} {'items':>8} {'ratings':>11} {'MiB':>8}  created"
    )
    for row in rows:
        if "source" not in row:
            print(f"{row['release']:<20} {row['status']}")
            continue
        print(
            f"{row['release']:<20} {row['status']:<8} {row['source']:<10} {row['served_model']:<6} {row['n_users']:>9,} {row['n_items']:>8,} "
            f"{row['n_ratings']:>11,} {row['size_mib']:>8,.1f}  {row['created_at']}"
        )


def _row(manifest: Manifest, *, is_current: bool) -> dict:
    return {
        "release": manifest.release,
        "status": "current" if is_current else "sealed",
        "source": manifest.source,
        "served_model": manifest.served_model,
        "n_users": manifest.counts["users"],
        "n_items": manifest.counts["items"],
        "n_ratings": manifest.counts["ratings"],
        "size_mib": round(sum(f["bytes"] for f in manifest.files.values()) / 2**20, 2),
        "created_at": manifest.created_at,
    }


def _show(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
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


def _compare(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse.compare import compare

    compared = compare(warehouse, parsed.a, parsed.b)
    if parsed.user is not None:
        from jobs.changes import user_changes

        compared["user_id"], compared["changes"] = parsed.user, user_changes(warehouse, parsed.a, parsed.b, parsed.user)
    if parsed.json:
        print(json.dumps(compared, indent=1))
        return
    print(f"{'':<44} {parsed.a:>28} {parsed.b:>28}")
    for row in compared["rows"]:
        print(f"{row['figure']:<44} {_figure(row, 'a'):>28} {_figure(row, 'b'):>28}")
    print(
        f"{'items shared by the two top tens':<44} {compared['mean_overlap_at_10']:>28.3f} of 1, over {compared['n_users']:,} users"
    )
    for change in compared.get("changes", []):
        came, rank = change["rank_before"] is None, change["rank_before"] or change["rank_now"]
        print(f"  {'came' if came else 'went'}  rank {rank:>2}  {change['item_id']}  {change['title']}: {change['cause']}")
    if not compared.get("changes", True):
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


def _verify(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    """A table of artifacts, then checks and parity; raises ReleaseError where anything is wrong."""
    from jobs.parity import parity, TOLERANCE
    from warehouse.sqlite import failed_checks, open_immutable

    release = warehouse.sealed(parsed.release)
    manifest = releases.read_manifest(release)
    problems = releases.damage(release, manifest)
    print(f"{'artifact':<44} {'status':<20} {'MiB':>9} {'load ms':>9}")
    for name in sorted(manifest.files.keys() | problems.keys()):
        size, load_ms = _load(release, name)
        print(f"{name:<44} {problems.get(name, 'ok'):<20} {size:>9.2f} {load_ms:>9.1f}")
    if problems:
        raise ReleaseError(
            f"release {release.id}: {len(problems)} of {len(manifest.files)} files are not as sealed; roll back or import a good copy"
        )
    connection = open_immutable(release.database)
    failed = failed_checks(connection, manifest.rating_scale)
    for name, rows in failed.items():
        print(f"check failed: {name}: {rows}")
    saved = resolve({}, {}, recorded=manifest.settings, folder=release.folder)
    scale, served = manifest.rating_scale, manifest.served_model
    found = parity(release, connection, saved, scale, served=served, n_users=saved.parity_users)
    connection.close()
    print(f"checks  {manifest.checks['n_checks']} run, {len(failed)} failed")
    print(
        f"parity  {found['n_same_lists']} of {found['n_users']} lists derived again are the stored ones, scores within {found['largest_relative_difference']:.1e}"
    )
    if failed or found["largest_relative_difference"] > TOLERANCE:
        raise ReleaseError(
            f"release {release.id} does not verify: {len(failed)} checks failed, scores differ by {found['largest_relative_difference']:.1e}"
        )
    print(f"release {release.id} verifies")


def _load(release: Release, name: str) -> tuple[float, float]:
    """Size in MiB and milliseconds to open an artifact as its readers do."""
    import numpy as np
    import pyarrow.parquet as pq

    path = release.folder / name
    if not path.exists():
        return 0.0, 0.0
    started = time.perf_counter()
    try:
        if path.suffix == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".parquet":
            pq.read_metadata(path)
        elif path.suffix == ".db":
            from warehouse.sqlite import open_immutable

            open_immutable(path).execute("select count(*) from sqlite_master").fetchone()
        else:
            path.read_bytes()
    except Exception:  # a damaged artifact is what the table's status column reports
        return path.stat().st_size / 2**20, float("nan")
    return path.stat().st_size / 2**20, (time.perf_counter() - started) * 1e3


def _promote(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    previous = releases.promote(warehouse, parsed.release, reason=parsed.reason)
    catalog.rebuild(warehouse)
    print(f"{parsed.release} is current" + (f"; before it {previous}" if previous else ""))


def _rollback(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    print(f"{releases.rollback(warehouse)} is current")
    catalog.rebuild(warehouse)


def _prune(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    gone = releases.prune(warehouse, keep=settings.keep)
    catalog.rebuild(warehouse)
    print(f"removed {len(gone)}: {', '.join(gone)}" if gone else "nothing to remove")


def _export(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    path = archive.write(warehouse, parsed.release, parsed.file)
    print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


def _import(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    release = archive.import_(warehouse, parsed.file)
    catalog.rebuild(warehouse)
    print(f"{release.id} is sealed in {warehouse.folder}; `cinematch releases promote {release.id}` serves it")
