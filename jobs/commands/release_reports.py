"""The texts of `cinematch releases list`, `show` and `compare`."""

from __future__ import annotations

import argparse
import json

from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.settings import FIELDS, Settings
from warehouse import release as releases
from warehouse.history import rolled_back
from warehouse.layout import Warehouse
from warehouse.measures import checked, choice, counted, Line, lines_of, models_of


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
    print(f"{'release':<20} {'status':<11} {'source':<10} {'model':<15} {'users':>9} {'items':>8} {'ratings':>11} {'MiB':>8}  created")
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
    print(f"release      {manifest.release}{'  (current)' if releases.current_id(warehouse) == manifest.release else ''}")
    print(f"created at   {manifest.created_at}, as of {manifest.as_of}")
    print(
        f"input        {manifest.source}: {', '.join(file['name'] for file in manifest.input['files'])}  sha256 {manifest.input['sha256'][:16]}"
    )
    print(
        f"rows         {rows['read']:,} read = {rows['accepted']:,} accepted + {rows['duplicates']:,} duplicates + {rows['quarantined']:,} quarantined"
    )
    print(f"scale        {' to '.join(f'{end:g}' for end in manifest.rating_scale or ()) or 'none: implicit feedback'}")
    print(f"served       {choice(manifest)}")
    print(f"seed         {manifest.settings.get('seed')}")
    print(f"settings     {_changed_settings(manifest)}")
    print(
        f"verdict      {manifest.verdict.get('decision', 'none')}: {manifest.verdict.get('reason', 'it was not judged')} ({counted(manifest)})"
    )
    print(f"parity       {_parity(manifest)}")
    print(f"checks       {checked(manifest)}")
    print(
        "\n"
        + _table(
            ["model", "status", "seconds", "MiB", ""],
            [
                [model["model"], model["status"], f"{model['train_s']:.1f}", f"{model['size_mib']:.2f}", model["message"]]
                for model in manifest.models
            ],
            n_text=2,
        )
    )
    print("\n" + _metrics(manifest))
    print(
        "\n"
        + _table(
            ["step", "seconds", "MiB peak"],
            [[step["step"], f"{step['seconds_s']:.1f}", f"{step['peak_mib']:.0f}"] for step in manifest.steps],
        )
    )
    print(
        "\n"
        + _table(
            ["table", "rows", "MiB", "content digest"],
            [
                [name, f"{table['rows']:,}", f"{table['bytes'] / 2**20:.2f}", table["content_sha256"][:16]]
                for name, table in manifest.tables.items()
            ],
        )
    )


def _metrics(manifest: Manifest) -> str:
    """Metrics by models, the best of a line marked; intervals and users are in the JSON."""
    models = models_of(manifest.metrics, manifest.served_model)
    rows = [[line.protocol, line.metric, *(_cell(line, model) for model in models)] for line in lines_of(manifest.metrics)]
    return _table(["protocol", "metric (* best)", *models], rows, n_text=2)


def _cell(line: Line, model: str) -> str:
    if model not in line.cells:
        return ""
    return f"{_number(line.cells[model]['value'])}{'*' if model in line.best else ' '}"


def _changed_settings(manifest: Manifest) -> str:
    """The settings that are not at their default."""
    changed = {name: value for name, value in manifest.settings.items() if name not in FIELDS or value != FIELDS[name].default}
    return ", ".join(f"{name} = {value}" for name, value in changed.items() if name != "seed") or "all at their defaults"


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    return (
        f"{parity['n_same_lists']} of {parity['n_users']} lists of one user at a time are the stored ones, scores differ by "
        f"{parity['largest_relative_difference']:.1e} at most"
    )


def _table(heads: list[str], rows: list[list[str]], *, n_text: int = 1) -> str:
    """Columns as wide as their cells; the first n_text, and a last one of text, to the left."""
    widths = [max(len(line[c]) for line in (heads, *rows)) for c in range(len(heads))]

    def shown(line: list[str]) -> str:
        return "  ".join(
            cell.ljust(width) if c < n_text else cell.rjust(width) for c, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()

    return "\n".join(map(shown, (heads, *rows)))


def compared(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse.compare import compare

    comparison = compare(warehouse, parsed.a, parsed.b)
    if parsed.user is not None:
        from jobs.commands.list_changes import user_changes

        comparison["user_id"], comparison["changes"] = parsed.user, user_changes(warehouse, parsed.a, parsed.b, parsed.user)
    if parsed.json:
        print(json.dumps(comparison, indent=1))
        return
    rows = [[row["figure"], _figure(row, "a"), _figure(row, "b"), _figure(row, "difference")] for row in comparison["rows"]]
    print(_table(["", parsed.a, parsed.b, "difference"], rows))
    if comparison["note"]:
        print(f"\n{comparison['note']}")
    for setting in comparison["other_settings"]:
        print(f"setting {setting['setting']}: {setting['a']} in {parsed.a}, {setting['b']} in {parsed.b}")
    differing = ", ".join(comparison["other_tables"])
    print(f"\nTables with another content: {differing}" if differing else "\nEvery table has the same content")
    print(f"The two top tens share {comparison['mean_overlap_at_10']:.3f} of their items, over {comparison['n_users']:,} users")
    for change in comparison.get("changes", []):
        came, rank = change["rank_before"] is None, change["rank_before"] or change["rank_now"]
        print(f"  {'came' if came else 'went'}  rank {rank:>2}  {change['item_id']}  {change['title']}: {change['cause']}")
    if not comparison.get("changes", True):
        print(f"  the first ten of user {parsed.user} are the same items")


def _figure(row: dict, place: str) -> str:
    bounds = f" ({_number(row[f'{place}_low'])} to {_number(row[f'{place}_high'])})" if f"{place}_low" in row else ""
    sign = "+" if place == "difference" and (row[place] or 0) > 0 else ""
    return sign + _number(row[place]) + bounds


def _number(value) -> str:
    return (
        ""
        if value is None
        else f"{value:,.4f}"
        if isinstance(value, float) and not value.is_integer()
        else f"{value:,.0f}"
        if isinstance(value, (int, float))
        else str(value)
    )
