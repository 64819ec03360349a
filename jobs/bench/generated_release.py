"""A sealed release of any size in a minute: generated rows, by the project's own writers, to measure a server."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, UTC
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from jobs.bench.generated_rows import EXPLAINED, Generated, HIGH, LISTED, LOW, REASONS
from jobs.bench.generated_sides import FACTORS, RATER_FACTORS, SERVED, sides
from jobs.recommend.rendered_lists import ready_lists, Titles
from jobs.seal import item_counts
from jobs.seal.analytics import analytics
from schemas.derive import arrow_schema, datasette_metadata
from schemas.manifest import Manifest
from schemas.settings import Settings
from schemas.tables import IdTypes, TABLES
from warehouse import model_files, parquet, promotion, pruning, release as releases, sealing
from warehouse.layout import Release, Warehouse
from warehouse.queries import canned_queries
from warehouse.sqlite_build import Builder

FIRST, SECOND = "20260104T020000Z", "20260111T020000Z"
QUERY = """
select lists.rank, lists.item_id, titles.title, lists.score, lists.predicted_rating, lists.confidence, lists.source,
  (select json_group_array(json_object('kind', kind, 'item_id', because.item_id, 'title', because.title,
     'contribution', contribution, 'rating', json_extract(detail, '$.rating')))
   from explanations left join items as because on because.item_id = cast(evidence_id as integer)
   where user_id = lists.user_id and explanations.item_id = lists.item_id and kind != 'residual') as reasons,
  (select contribution from explanations
   where user_id = lists.user_id and item_id = lists.item_id and kind = 'residual') as residual
from recommendations as lists
join items as titles on titles.item_id = lists.item_id
where lists.user_id = :user_id and lists.rank <= 10
order by lists.rank"""


def generate(warehouse: Warehouse, *, users: int, items: int, seed: int) -> Release:
    """Build, seal and promote the release FIRST. Its metadata has one query more: what a lookup says, in SQL."""
    rows, staged, ids = Generated(users, items, seed), warehouse.staged(FIRST), IdTypes()
    settings = Settings(
        serve=SERVED,
        models="popular,ials,als",
        n=LISTED,
        explain_n=EXPLAINED,
        reasons_n=REASONS,
        ials_factors=FACTORS,
        als_factors=RATER_FACTORS,
        seed=seed,
    )
    for name, (arrays, parameters) in sides(rows, settings).items():
        model_files.save(staged.model(name), arrays, parameters)
    for name in TABLES:
        parquet.write(staged.table(name), _blocks(rows, name, settings, staged), arrow_schema(TABLES[name], ids))
    builder = Builder(staged.database, ids)
    for name, table in TABLES.items():
        builder.add(table, parquet.blocks(staged.table(name), table.names))
    builder.finish()
    metadata = datasette_metadata(canned_queries(), ids)
    (staged.folder / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    sealed = sealing.seal(warehouse, staged, _manifest(staged, settings, releases.digests(staged)))
    promotion.promote(warehouse, FIRST, reason="generated to be measured")
    return sealed


def _blocks(rows: Generated, name: str, settings: Settings, staged: Release) -> Iterable[pa.Table]:
    """One table in key order, in pieces; the last, `analytics`, from the files of those before."""
    if name == "items":
        return [rows.items(FIRST)]
    if name == "models":
        return [_models(settings)]
    if name == "ready_lists":
        return _ready(rows, FIRST)
    if name == "item_ratings":
        return [item_counts.item_ratings(_blocks(rows, "ratings", settings, staged))]
    if name == "item_lists":
        return [item_counts.item_lists(_blocks(rows, "recommendations", settings, staged))]
    if name == "rating_months":
        return [item_counts.rating_months(_blocks(rows, "ratings", settings, staged))]
    if name == "analytics":
        return [analytics(lambda table: [staged.table(table.name)], staged.work)]
    if name in ("user_attributes", "metrics", "quarantine", "checks"):
        return []
    made = getattr(rows, name)()
    return [made] if isinstance(made, pa.Table) else made


def _ready(rows: Generated, edition: str) -> Iterator[pa.Table]:
    titles = Titles(rows.items(edition))
    for lists, reasons in zip(rows.recommendations(), rows.explanations()):
        yield ready_lists(lists, reasons, titles, explain_n=EXPLAINED)


def _models(settings: Settings) -> pa.Table:
    traits = {
        "als": (True, True, True, True),
        "ials": (False, True, True, False),
        "popular": (False, True, False, False),
    }
    return pa.Table.from_pylist(
        [
            {
                "model": name,
                "status": "trained",
                "message": "",
                "is_served": name == SERVED,
                "predicts_rating": predicts,
                "folds_in": folds,
                "attributes": attributes,
                "needs_ratings": needs,
                "parameters": "{}",
                "seed": settings.seed,
                "train_s": 0.0,
                "peak_mib": 0.0,
                "size_mib": 0.0,
            }
            for name, (predicts, folds, attributes, needs) in traits.items()
        ]
    )


def _manifest(release: Release, settings: Settings, files: dict) -> Manifest:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    counts = {name: parquet.n_rows(release.table(name)) for name in TABLES}
    tables = {
        name: {
            "rows": counts[name],
            "bytes": files[f"tables/{name}.parquet"]["bytes"],
            "content_sha256": files[f"tables/{name}.parquet"]["sha256"],
        }
        for name in TABLES
    }
    return Manifest(
        release=release.id,
        created_at=now,
        as_of=now,
        source="generated",
        rating_scale=(LOW, HIGH),
        ids={"user_id": "int64", "item_id": "int64"},
        input={"files": [], "sha256": files["tables/ratings.parquet"]["sha256"]},
        rows={"read": counts["ratings"], "accepted": counts["ratings"], "duplicates": 0, "quarantined": 0},
        counts=counts,
        settings=settings.recorded(),
        versions={"python": platform.python_version(), "cinematch": version("cinematch")},
        steps=[],
        models=parquet.read(release.table("models")).to_pylist(),
        metrics=[],
        parity={"n_users": 0, "n_same_lists": 0, "largest_relative_difference": 0.0},
        checks={"n_checks": 0, "n_failed": 0},
        verdict={},
        tables=tables,
        files=files,
    )


def second_edition(warehouse: Warehouse) -> Release:
    """Seal the release SECOND: the first one with other titles, so that an answer shows which of them its rows are
    from. Files that are the same are the same files, by hard links; it is not promoted."""
    first, staged = warehouse.sealed(FIRST), warehouse.staged(SECOND)
    for path in first.folder.rglob("*"):
        target = staged.folder / path.relative_to(first.folder)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path not in (first.manifest, first.database, first.table("items"), first.table("ready_lists")):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    manifest = releases.read_manifest(first)
    settings = Settings(**manifest.settings)
    rows = Generated(manifest.counts["users"], manifest.counts["items"], settings.seed)
    ready = staged.table("ready_lists")
    parquet.write(ready, _ready(rows, SECOND), arrow_schema(TABLES["ready_lists"], IdTypes()))
    shutil.copyfile(first.database, staged.database)
    with closing(sqlite3.connect(staged.database)) as connection, connection:
        for table in ("items", "items_fts"):
            connection.execute(f"update {table} set title = replace(title, ?, ?)", (FIRST, SECOND))  # nosec B608  # names of tables from this module
        for block in parquet.blocks(ready, ["rows", "user_id"]):
            pairs = zip(block["rows"].to_pylist(), block["user_id"].to_pylist())
            connection.executemany("update ready_lists set rows = ? where user_id = ?", pairs)
    items = parquet.read(first.table("items"))
    titles = pa.array([title.replace(FIRST, SECOND) for title in items["title"].to_pylist()])
    place = items.column_names.index("title")
    parquet.write(staged.table("items"), [items.set_column(place, "title", titles)], arrow_schema(TABLES["items"], IdTypes()))
    return sealing.seal(warehouse, staged, _manifest(staged, settings, releases.digests(staged)))


def remove(folder: Path) -> None:
    """Remove a warehouse whose releases are read-only."""
    if folder.exists():
        pruning.remove(folder)
