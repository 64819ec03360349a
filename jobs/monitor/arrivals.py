"""Online ratings since a release was built, against what the release was built from and what it promised."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import islice

import numpy as np

from jobs.kernels.evaluation.drift import population_stability_index
from jobs.monitor.findings import Findings
from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.settings import Settings
from warehouse import overlay
from warehouse.identity import contained, identity
from warehouse.layout import Warehouse
from warehouse.overlay import Entry

DAY_S = 86_400
RECENT_DAYS = 28
MOST_ENTRIES = 200_000
DEPTH = 20


def incoming(
    asked: Findings,
    warehouse: Warehouse,
    connection: sqlite3.Connection,
    manifest: Manifest,
    settings: Settings,
    now: datetime,
) -> None:
    """Compare what came in online with what the release was built from."""
    try:
        entries, size = _entries(warehouse, manifest)
    except (ReleaseError, sqlite3.DatabaseError) as error:
        asked.say("overlay_rows", "error", None, None, f"the online ratings cannot be read: {error}")
        return
    asked.at_most("overlay_rows", size, settings.audit_overlay_rows, "online ratings that no promoted release contains")
    given = [entry for entry in entries if not entry.is_deleted]
    if len(given) < settings.audit_min_ratings:
        asked.say(
            "incoming",
            "ok",
            len(given),
            None,
            f"too few to compare; {settings.audit_min_ratings} are needed (audit_min_ratings)",
        )
        return
    try:
        _volume(asked, connection, given, settings, now)
        _mix(asked, connection, given, manifest, settings)
        _ranks(asked, connection, given, manifest, settings)
    except sqlite3.DatabaseError as error:
        asked.say("incoming", "error", None, None, f"the database cannot be read: {error}")


def _entries(warehouse: Warehouse, manifest: Manifest) -> tuple[list[Entry], int]:
    """The first MOST_ENTRIES entries after those that the release contains, and how many there are."""
    if not warehouse.overlay.exists():
        return [], 0
    with closing(overlay.open_read_only(warehouse.overlay)) as connection:
        after = contained(manifest.input, identity(connection))
        size = connection.execute("select count(*) from ratings where seq > ?", (after,)).fetchone()[0]
        return list(islice(overlay.entries(connection, after=after), MOST_ENTRIES)), size


def _volume(asked: Findings, connection: sqlite3.Connection, given: list[Entry], settings: Settings, now: datetime) -> None:
    """A day's ratings now, over a day's in the last weeks of the release's data: few are a broken way in, many a robot."""
    latest = connection.execute("select max(rated_at) from ratings").fetchone()[0]
    if latest is None:
        asked.say("volume_ratio", "ok", None, None, "the source has no times")
        return
    since = latest - RECENT_DAYS * DAY_S
    before = connection.execute("select count(*) from ratings where rated_at > ?", (since,)).fetchone()[0] / RECENT_DAYS
    days = max((now.timestamp() - min(entry.received_at for entry in given)) / DAY_S, 1.0)
    ratio = len(given) / days / before
    what = f"online ratings a day over the {before:.1f} a day of the release's last {RECENT_DAYS} days"
    if ratio < 1:
        asked.at_least("volume_ratio", ratio, 1 / settings.audit_volume_ratio, what)
    else:
        asked.at_most("volume_ratio", ratio, settings.audit_volume_ratio, what)


def _mix(asked: Findings, connection: sqlite3.Connection, given: list[Entry], manifest: Manifest, settings: Settings) -> None:
    """Rating values, genres, and how many of the users and items the release knows."""
    if manifest.rating_scale is not None:
        values, counts = zip(*connection.execute("select rating, count(*) from ratings group by rating order by rating"))
        nearest = np.abs(np.subtract.outer([entry.rating for entry in given], values)).argmin(axis=1)
        psi = population_stability_index(np.array(counts), np.bincount(nearest, minlength=len(values)))
        asked.at_most("rating_psi", psi, settings.audit_psi, "rating values, incoming against the release's")
    genres = dict(
        connection.execute(
            "select item_genres.genre, sum(items.n_ratings) from item_genres "
            "join items on items.item_id = item_genres.item_id group by item_genres.genre"
        )
    )
    names = list(genres)
    n_now = dict.fromkeys(names, 0)
    for entry in given:
        for (genre,) in connection.execute("select genre from item_genres where item_id = ?", (entry.item_id,)):
            n_now[genre] += 1
    if names and sum(n_now.values()):
        psi = population_stability_index(np.array([genres[name] for name in names]), np.array([n_now[name] for name in names]))
        asked.at_most("genre_psi", psi, settings.audit_psi, "genres of the rated items, incoming against the release's")
    for table, key in (("users", "user_id"), ("items", "item_id")):
        query = f"select 1 from {table} where {key} = ?"  # nosec B608  # the two names stand a line above
        unknown = sum(connection.execute(query, (getattr(entry, key),)).fetchone() is None for entry in given)
        share = unknown / len(given)
        asked.at_most(
            f"unknown_{table}",
            share,
            settings.audit_unknown,
            f"share of incoming ratings of {table} that the release does not know",
        )


def _ranks(asked: Findings, connection: sqlite3.Connection, given: list[Entry], manifest: Manifest, settings: Settings) -> None:
    """Where the items that people turned to stood in their lists, against what the held-out rows promised."""
    ranks = np.array([rank for rank in _ranks_of(connection, given)], np.float64)
    promised = [
        row["value"] for row in manifest.metrics if (row["model"], row["metric"], row["k"]) == (manifest.served_model, "recall", DEPTH)
    ]
    if len(ranks) < settings.audit_min_ratings or not promised:
        asked.say(
            "online_recall_at_20",
            "ok",
            None,
            None,
            f"{len(ranks)} new items of known users are too few to judge the lists",
        )
        return
    limit = settings.audit_quality_ratio * promised[0]
    what = f"share of {len(ranks)} newly rated items in their user's first {DEPTH}; held-out rows gave {promised[0]:.4f}"
    asked.at_least("online_recall_at_20", float((ranks <= DEPTH).mean()), limit, what)
    asked.say(
        "online_mrr",
        "ok",
        float((1 / ranks).mean()),
        None,
        "mean of 1 / rank of newly rated items in the stored lists; 0 outside",
    )


def _ranks_of(connection: sqlite3.Connection, given: list[Entry]) -> Iterator[float]:
    """Rank in the stored list of each known item that came new to a known user; infinity where the list has it not."""
    for entry in given:
        pair = (entry.user_id, entry.item_id)
        if (
            connection.execute("select 1 from users where user_id = ?", pair[:1]).fetchone() is None
            or connection.execute("select 1 from items where item_id = ?", pair[1:]).fetchone() is None
            or connection.execute("select 1 from ratings where user_id = ? and item_id = ?", pair).fetchone() is not None
        ):
            continue
        row = connection.execute("select rank from recommendations where user_id = ? and item_id = ?", pair).fetchone()
        yield row[0] if row else np.inf
