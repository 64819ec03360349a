"""ingest: read a source, refuse what cannot be used, keep the latest of each (user, item), number the items.

What came in online since the source was written is part of the input. Two passes. The first streams the files through
the checks, a block at a time, into typed Parquet. The second is one Spark shuffle: rows sorted by user and item across
all parts, so that every later step finds whole users in a part and the tables come out in key order.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta, UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.ingest import data_guard, retention
from jobs.ingest.data_profile import Data
from jobs.ingest.first_pass import Reading
from jobs.ingest.items import blocked_ids, blocked_items, examples, first_of_same, numbered_items, same_item_id, write_item_tables
from jobs.ingest.partition import by_user, few_users, PartWriter
from jobs.ingest.read_as import read_as
from jobs.ingest.user_attributes import read_attributes, write_attributes
from jobs.machine import needs
from jobs.machine.needs import Counts
from jobs.machine.progress import Progress
from jobs.sources import QUARANTINE_SCHEMA, Source
from jobs.sources.open import open_source
from jobs.spark.session import spark_session
from jobs.spark.tasks import collect
from jobs.staging.record import Step
from schemas.errors import SettingError, SourceError, StepError
from schemas.setting_groups import OFF
from schemas.settings import Settings
from warehouse import forgotten, hidden, online, parquet
from warehouse.identity import last_archived
from warehouse.layout import Warehouse

log = logging.getLogger("cinematch")

MOST_OFF_SCALE = 0.005  # of the ratings may be marks, such as 99
ROWS_PER_PART = 500_000
TOLERANCE = timedelta(days=1)  # of the clocks and time zones of those who wrote "now"


def ingest(running: Step, warehouse: Warehouse) -> None:
    settings, release = running.settings, running.release
    as_of, blocked, out_of_sight = _as_of(settings), blocked_ids(settings.blocked), hidden.read(warehouse)
    shutil.rmtree(release.work / "interactions", ignore_errors=True)  # made for training from what was ingested before
    since = retention.earliest(settings, as_of)
    source = open_source(settings, raw=warehouse.raw, latest=as_of if settings.as_of else as_of + TOLERANCE, earliest=since)
    before = _files(source.inputs)
    expected = Counts(int(needs.guessed_rows(source.inputs)), 0, 0)
    needs.check("ingest", needs.step_need("ingest", expected, settings), settings, warehouse.folder)
    overlay_id = online.archive(warehouse)
    everything = online.archived(warehouse, received_until=int(as_of.timestamp()))
    online_from = _online_from(warehouse, settings)
    given_here = everything.filter(pc.greater(everything["seq"], online_from))
    arrived = retention.kept_online(given_here, since)
    parquet.write(release.work / "online.parquet", [arrived], online.SCHEMA)
    known = forgotten.read(warehouse.forgotten)
    read = Reading(release, known, few_users=few_users(settings))
    with Progress(f"reading {source.name}", unit="rows") as progress:
        for batch in source.interactions():
            read.take(batch)
            progress.add(batch.n_read)
    catalogue = source.catalogue()
    of_users = read_attributes(source.users(), known)
    refused = pa.concat_tables([catalogue.refused.cast(QUARANTINE_SCHEMA), of_users.refused])
    read.close(refused)
    inputs = _input(source.inputs, source.digests)
    _check_unchanged(before, source.inputs)
    _enough(read.n_accepted, read, settings)
    check_scale(source, read, settings)
    read.n_expired += len(given_here) - len(arrived)
    understood = read_as(source, read, catalogue)
    if since is not None:
        understood["retention"] = (
            f"{read.n_expired:,} interactions before {since:%Y-%m-%d %H:%M} left out, unread (retention_days {settings.retention_days})"
        )
    if len(everything):
        understood["online"] = f"{len(arrived):,} interactions that came in online are in it"
        if len(given_here) < len(everything):
            understood["online"] += f"; {len(everything) - len(given_here):,} were given to the generated sample and are left out"
    for name, words in understood.items():
        log.info("ingest: read as: %s %s", name.replace("_", " "), words)
    if len(arrived):
        read.take_online(arrived)
    if settings.repeats != OFF and read.last_at is None:
        raise SourceError(
            f"repeats: {settings.repeats} needs the time of each interaction, to tell one event of a pair from another; {source.name} has none: "
            "name its column (--columns rated_at=...), or leave repeats off"
        )
    ids = read.id_types(source, catalogue)
    items = numbered_items(catalogue, read.item_ids(), ids)
    first = first_of_same(items)
    is_blocked = blocked_items(blocked, out_of_sight, items, first)
    same = same_item_id(first, items["item_id"].combine_chunks())
    parquet.write(release.work / "items.parquet", [items], items.schema)
    n_parts = max(2, -(-read.n_accepted // ROWS_PER_PART))
    with spark_session(settings, scratch=running.scratch) as spark:
        frame = spark.read.parquet(str(release.work / "read"))
        for role in ("user_id", "item_id"):
            if getattr(ids, role) == "int64":
                frame = frame.withColumn(role, F.col(role).cast("long"))
        write_part = PartWriter(release, ids, settings, source.rating_scale, n_users=read.n_users)
        sorted_rows = by_user(frame, n_parts, n_rows=read.n_accepted)
        figures = collect(spark, sorted_rows.mapInArrow(write_part, "n_rows long"), label="sorting by user", n_tasks=n_parts)
    n_kept = pc.sum(figures["n_rows"]).as_py()
    _enough(n_kept, read, settings)
    is_rated = source.rating_scale is not None
    write_item_tables(release, items, ids, n_parts, is_rated=is_rated, is_blocked=is_blocked, same=same)
    if said := write_attributes(release, of_users.rows, ids):
        understood["users"] = said
        log.info("ingest: read as: users %s", said)
    read.drop()
    rows = {
        "read": read.n_read,
        "accepted": n_kept,
        "duplicates": read.n_accepted - n_kept,
        "quarantined": read.n_refused,
    }
    if rows["read"] != rows["accepted"] + rows["duplicates"] + rows["quarantined"]:
        raise StepError(f"ingest: rows do not add up: {rows}; read must be accepted + duplicates + quarantined")
    running.figures |= {f"n_{name}": n for name, n in rows.items()} | {f"read_{name}": words for name, words in understood.items()}
    running.figures |= {
        "n_expired": read.n_expired,
        "n_users": sum(map(parquet.n_rows, parquet.parts(release.work / "users"))),
        "n_items": len(items),
        "n_blocked": int(is_blocked.sum()),
        "n_same_items": len(same) - same.null_count,
        "n_catalogue_rows": catalogue.n_read + of_users.n_read,  # of items and of users
        "n_catalogue_quarantined": len(refused),
    }
    if same.null_count < len(same):
        shown = "; ".join(f"{title} ({', '.join(map(str, same_ids))})" for title, same_ids in examples(items, same))
        log.warning(
            "ingest: %d items have the title and year of another, of which a list names one: %s", len(same) - same.null_count, shown
        )
    data = Data.staged(release, rows, source.rating_scale, ids)
    compared = data_guard.guard(warehouse, release, data, settings, source=source.name, as_of=as_of.isoformat())
    running.held_back = data_guard.held_back(compared, release.id)
    running.facts |= {
        "data": compared,
        "as_of": as_of.isoformat(),
        "source": source.name,
        "ids": {"user_id": ids.user_id, "item_id": ids.item_id},
        "rating_scale": source.rating_scale,
        "n_parts": n_parts,
        "rows": rows,
        "input": inputs
        | {
            "overlay_id": overlay_id,
            "overlay_seq": max(pc.max(everything["seq"]).as_py() or 0, online_from),
            "online_from": online_from,
            "n_online": len(arrived),
        },
    }


def _online_from(warehouse: Warehouse, settings: Settings) -> int:
    """Return the last sequence number of what came in online for other data; 0 if there is none.

    The generated sample gives way to any other source, and what was tried on it goes with it. Releases after that keep the number.
    """
    promoted = data_guard.promoted(warehouse)
    if promoted is None:
        return 0
    _, manifest = promoted
    if data_guard.is_of_other_sample(manifest, settings):
        return last_archived(warehouse)
    return int(manifest.input.get("online_from") or 0)


def _as_of(settings: Settings) -> datetime:
    if not settings.as_of:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        given = datetime.fromisoformat(settings.as_of)
    except ValueError:
        raise SettingError(f"as_of: expected a time such as 2026-01-04T02:00:00Z, got {settings.as_of!r}") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _enough(n: int, read: Reading, settings: Settings) -> None:
    if n < settings.min_interactions:
        refused = f". Most were refused for: {read.top_reasons()}" if read.n_refused else ""
        raise SourceError(
            f"{n:,} usable interactions of {read.n_read:,} rows read; expected at least {settings.min_interactions:,} (setting "
            f"min_interactions){refused}"
        )


def check_scale(source: Source, read: Reading, settings: Settings) -> None:
    """Raises SourceError if a scale that was told from the first rows does not hold for the others."""
    n_off = 0 if settings.rating_scale or source.rating_scale is None else read.n_off_scale()
    if n_off > MOST_OFF_SCALE * (read.n_accepted + n_off):
        low, high = source.rating_scale
        raise SourceError(
            f"rating_scale: {n_off / (read.n_accepted + n_off):.1%} of the ratings lie off {low:g} to {high:g}, which the first rows said; set "
            f"rating_scale to the scale of all of them, or to {low:g}:{high:g} if those rows are to be refused"
        )


def _files(paths: tuple[Path, ...]) -> list[tuple[int, ...]]:
    """Return which file is at each path, and how far it was written."""
    return [(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in (path.stat() for path in paths)]


def _check_unchanged(before: list[tuple[int, ...]], paths: tuple[Path, ...]) -> None:
    """Raises SourceError if an input is not what it was: the digest would be of other rows than were read."""
    for path, one, other in zip(paths, before, _files(paths)):
        if one != other:
            raise SourceError(f"{path}: the source changed while it was read; run this again when nothing writes to it")


def _input(paths: tuple[Path, ...], digests: Mapping[str, str]) -> dict:
    """Names, sizes and digests of the input files, digests of what is read beside them, and one digest over all."""
    files: list[dict] = [{"name": name, "sha256": digest} for name, digest in digests.items()]
    for path in paths:
        with path.open("rb") as file:
            files.append(
                {
                    "name": path.name,
                    "bytes": path.stat().st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                }
            )
    whole = hashlib.sha256("".join(sorted(file["sha256"] for file in files)).encode()).hexdigest()
    return {"files": files, "sha256": whole}
