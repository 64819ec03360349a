"""seal: the tables into one SQLite file, checked, compared, digested; then the staged release becomes a sealed one."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import platform
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, UTC
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.machine.progress import processors, Progress
from jobs.seal import item_counts, parity
from jobs.seal.analytics import analytics
from jobs.seal.shards import build_shards
from jobs.staging.record import code_digest, Facts, facts, record, served_model, Step, STEPS
from schemas.checks import all_checks
from schemas.derive import arrow_schema, datasette_metadata
from schemas.errors import CheckError, StepError
from schemas.manifest import Manifest
from schemas.tables import ANALYTICS, CHECKS, IdTypes, ITEM_LISTS, ITEM_RATINGS, RATING_MONTHS, RATINGS, RECOMMENDATIONS, Table, TABLES
from warehouse import catalog, contracts, forgotten, parquet, release as releases, sealing
from warehouse.findings import Finding, keep
from warehouse.layout import Release, Warehouse
from warehouse.queries import canned_queries
from warehouse.signature import signing_key
from warehouse.sqlite import open_immutable, Result, results_of
from warehouse.sqlite_build import Builder, fill

log = logging.getLogger("cinematch")

PACKAGES = ("cinematch", "pyspark", "pyarrow", "numpy", "scipy", "implicit", "scikit-learn", "datasette")
IN_PARTS = ("users", "ratings", "recommendations", "explanations", "ready_lists", "similar_items")


def seal(running: Step, warehouse: Warehouse) -> Release:
    release, settings = running.release, running.settings
    facts_of_release, key = facts(release), signing_key(Path(settings.sign_key)) if settings.sign_key else None
    _check_forgotten(warehouse, release)
    for leftover in release.folder.rglob(".*.tmp"):  # of a step that was killed while it wrote
        leftover.unlink()
    _count(release, facts_of_release.ids)
    with ThreadPoolExecutor(1) as pool:  # Parquet and SQLite from the same parts at once; both leave Python alone
        joining = [pool.submit(_join_parts, release, TABLES[name], facts_of_release.ids) for name in IN_PARTS]
        if settings.shards > 1:  # which are cut out of the joined tables
            wait(joining)
        running.figures["n_rows"] = _build(running, facts_of_release.ids)
        for joined in joining:
            joined.result()
    (release.folder / "metadata.json").write_text(
        json.dumps(datasette_metadata(canned_queries(), facts_of_release.ids), indent=1) + "\n", encoding="utf-8"
    )
    contracts.write(release, facts_of_release.ids)
    _check(warehouse, release, facts_of_release, settings.repeats)
    connection = open_immutable(release.database)
    compared = parity.parity(
        release, connection, settings, facts_of_release.rating_scale, served=served_model(release), n_users=settings.parity_users
    )
    connection.close()
    if compared["largest_relative_difference"] > parity.TOLERANCE:
        raise CheckError(f"release {release.id}: lists of one user at a time differ from the stored ones: {compared}")
    steps = [record(release, name)["figures"] for name in STEPS if release.step(name).exists()]
    manifest = _manifest(running, facts_of_release, steps, compared)
    running.figures["n_bytes"] = sum(file["bytes"] for file in manifest.files.values())
    databases = {release.database, *release.user_databases}
    running.figures["database_mib"] = round(sum(path.stat().st_size for path in databases) / 2**20, 2)
    _check_forgotten(warehouse, release)
    sealed = sealing.seal(warehouse, release, manifest, key=key)
    shutil.rmtree(release.work)
    return sealed


def _check(warehouse: Warehouse, release: Release, facts_of_release: Facts, repeats: str) -> None:
    """Run every check, and keep what each says as a row of the release. Raises CheckError if one that must hold does not; then the
    findings of `catalog.db` name it, since the release may be gone tomorrow."""
    with Progress("checking", total=len(all_checks()), unit="checks") as progress:
        scale = facts_of_release.rating_scale
        results = results_of(release.database, scale, n_threads=processors(), repeats=repeats, done=progress.add)
    rows = sorted((result.row() for result in results), key=lambda row: row["name"].encode())
    parquet.write(release.table("checks"), [pa.Table.from_pylist(rows)], arrow_schema(CHECKS, facts_of_release.ids))
    fill(release.database, CHECKS, rows)
    for result in results:
        if result.n_rows and not result.is_failed:
            log.warning("seal: release %s: %s: not so for %d of %s", release.id, result.name, result.n_rows, result.check.table)
    failed = [result for result in results if result.is_failed]
    if failed:
        _note_findings(warehouse, release, failed)
        shown = "; ".join(f"{result.name}: {result.first[0]}" for result in failed[:3])
        raise CheckError(f"release {release.id}: {len(failed)} checks found rows ({shown}); it was not sealed")


def _note_findings(warehouse: Warehouse, release: Release, failed: list[Result]) -> None:
    """Keep the failed checks among the findings, without their rows: those may name users, and findings are for good."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    said = ((one.n_rows, f"{one.name}: not so for {one.n_rows:,} of {one.check.table}") for one in failed)
    keep(warehouse, (Finding(at, release.id, "seal_check", "error", n_rows, 0, message) for n_rows, message in said))
    catalog.rebuild(warehouse)


def _check_forgotten(warehouse: Warehouse, release: Release) -> None:
    """Raises StepError if a user was forgotten after the ingest that let them in."""
    known = forgotten.read(warehouse.forgotten)
    for part in parquet.parts(release.work / "users") if known else ():
        n = sum(user in known for user in parquet.read(part, ["user_id"])["user_id"].to_pylist())
        if n:
            raise StepError(
                f"seal: release {release.id} has users who were forgotten while it was built ({n:,} in {part.name}); it was not "
                f"sealed. Run `cinematch ingest --release {release.id}` and the steps after it again, or a new `cinematch run`"
            )


def _count(release: Release, ids: IdTypes) -> None:
    """Write the tables that are counted from others."""

    def write(table: Table, counted: pa.Table) -> None:
        parquet.write(release.table(table.name), [counted], arrow_schema(table, ids))

    write(ITEM_RATINGS, item_counts.item_ratings(_blocks(release, RATINGS, ["item_id", "rating"])))
    write(ITEM_LISTS, item_counts.item_lists(_blocks(release, RECOMMENDATIONS, ["item_id", "rank"])))
    write(RATING_MONTHS, item_counts.rating_months(_blocks(release, RATINGS, ["rated_at"])))
    write(ANALYTICS, analytics(lambda table: _files(release, table), release.work / "duckdb"))  # of the three before


def _join_parts(release: Release, table: Table, ids: IdTypes) -> None:
    parquet.write(release.table(table.name), _blocks(release, table), arrow_schema(table, ids))


def _files(release: Release, table: Table) -> list[Path]:
    return parquet.parts(release.work / table.name) if table.name in IN_PARTS else [release.table(table.name)]


def _blocks(release: Release, table: Table, columns: list[str] | None = None) -> Iterator[pa.Table]:
    for path in _files(release, table):
        yield from parquet.blocks(path, columns or table.names)


def _build(running: Step, ids: IdTypes) -> int:
    release, n_shards = running.release, running.settings.shards
    for old in release.shards:
        old.unlink()
    n_rows = build_shards(running, ids) if n_shards > 1 else 0
    tables = [table for table in TABLES.values() if table is not CHECKS and (n_shards == 1 or not table.is_by_user)]
    builder = Builder(release.database, ids)
    total = sum(parquet.n_rows(path) for table in tables for path in _files(release, table))
    with Progress("writing the database", total=total, unit="rows") as progress:
        for table in tables:

            def blocks(table: Table = table) -> Iterator[pa.Table]:
                for block in _blocks(release, table):
                    yield block
                    progress.add(len(block))

            n_rows += builder.add(table, blocks())
    builder.add(CHECKS, [])  # which are run on the whole of it
    log.info("seal: %d rows written; indexes and statistics follow", n_rows)
    builder.finish()
    return n_rows


def _manifest(running: Step, facts_of_release: Facts, steps: list[dict], compared: dict) -> Manifest:
    release, settings = running.release, running.settings
    files = releases.digests(release)
    tables = {name: _table_facts(release, table, files) for name, table in TABLES.items()}
    return Manifest(
        release=release.id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        as_of=facts_of_release.as_of,
        source=facts_of_release.source,
        rating_scale=facts_of_release.rating_scale,
        ids={"user_id": facts_of_release.ids.user_id, "item_id": facts_of_release.ids.item_id},
        input=facts_of_release.input,
        rows=facts_of_release.rows,
        counts={name: facts["rows"] for name, facts in tables.items()},
        settings=settings.recorded(),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
            "code": code_digest(),
        },
        steps=[*steps, running.measured()],
        models=parquet.read(release.table("models")).to_pylist(),
        metrics=parquet.read(release.table("metrics")).to_pylist(),
        parity=compared,
        checks={"n_checks": len(all_checks()), "n_failed": 0, "rows": parquet.read(release.table("checks")).to_pylist()},
        verdict=record(release, "evaluate")["facts"]["verdict"],
        tables=tables,
        files=files,
    )


def _table_facts(release: Release, table: Table, files: dict) -> dict:
    """Rows, bytes and content digest of a table. The digest leaves out what is measured and not computed (seconds, memory),
    so that the same input, settings and seed give the same one."""
    path = release.table(table.name)
    file = files[path.relative_to(release.folder).as_posix()]
    content = file["sha256"]
    computed = [column.name for column in table.columns if not column.is_measured]
    if len(computed) < len(table.columns):
        buffer = io.BytesIO()
        pq.write_table(parquet.read(path, computed), buffer)
        content = hashlib.sha256(buffer.getbuffer()).hexdigest()
    return {"rows": parquet.n_rows(path), "bytes": file["bytes"], "content_sha256": content}
