"""Retention: what is too old is in no table, not even refused, and the data guard does not take its absence for a fault."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path

import pyarrow.compute as pc
import pytest

from jobs.ingest.data_limits import changes
from jobs.ingest.data_profile import profile, shared
from jobs.ingest.retention import kept_online
from jobs.sources.table import open_table
from schemas.errors import SettingError
from schemas.settings import resolve
from tests.jobs.ingest import sabotage
from warehouse import online, overlay
from warehouse.layout import Warehouse
from warehouse.overlay import Entry

SINCE = datetime(2020, 9, 20, tzinfo=UTC)


def test_rows_that_are_too_old_are_neither_accepted_nor_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    at = int(SINCE.timestamp())
    path.write_text(f"user_id,item_id,rating,rated_at\na,x,4,{at - 1}\nb,x,4,{at}\nc,x,9,{at - 1}\nd,x,9,{at}\ne,x,4,\nf,x,4,-5\n")
    source = open_table(path, latest=datetime(2026, 1, 1, tzinfo=UTC), rating_scale=(1, 5))
    (batch,) = replace(source, earliest=SINCE).interactions()
    assert batch.accepted["user_id"].to_pylist() == ["b"] and batch.n_expired == 2 and batch.n_read == 4
    assert [text.split(",")[0] for text in batch.refused["text"].to_pylist()] == ["d", "e", "f"]


def test_a_source_without_times_cannot_be_held_to_it(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("user_id,item_id,rating\na,x,4\nb,x,5\n")
    source = open_table(tmp_path / "f.csv", latest=datetime(2026, 1, 1, tzinfo=UTC), rating_scale=(1, 5))
    with pytest.raises(SettingError, match="has no times"):
        list(replace(source, earliest=SINCE).interactions())


def test_an_old_put_still_decides_over_what_came_before_it(tmp_path: Path) -> None:
    warehouse, at = Warehouse(tmp_path), int(SINCE.timestamp())
    entries = [
        Entry(0, "a", "x", 4.0, 1.0, at - 1, at), Entry(0, "a", "y", 4.0, 1.0, at, at),
        Entry(0, "a", "z", 2.0, 1.0, at - 1, at, False, True), Entry(0, "a", "w", None, 0.0, at - 1, at, True, False),
    ]  # fmt: skip
    with closing(overlay.create(warehouse.overlay)) as connection:
        for entry in entries:
            overlay.append(connection, entry)
    online.archive(warehouse)
    arrived = online.archived(warehouse, received_until=at)
    assert kept_online(arrived, None) is arrived
    assert [(row["item_id"], row["is_deleted"]) for row in kept_online(arrived, SINCE).to_pylist()] == [
        ("y", False),
        ("z", True),
        ("w", True),
    ]


def test_the_guard_compares_with_what_retention_would_have_left(tmp_path: Path) -> None:
    source = sabotage.sample()
    before = sabotage.ingested(tmp_path / "before", sabotage.last_week(source))
    ratings, items = source
    since = datetime.fromtimestamp(int(ratings.rated_at.quantile(0.7)), UTC)
    now = sabotage.ingested(tmp_path / "now", (ratings[ratings.rated_at >= since.timestamp()], items))
    settings = resolve({}, {})
    assert changes(profile(now), profile(before), shared(now, before), settings), "as it stands it is a loss"
    left = before.retained(since)
    assert changes(profile(now), profile(left), shared(now, left), settings) == []
    users = left.read_users()
    rows = left.rows_of(users["user_id"].combine_chunks())
    assert pc.sum(users["n_ratings"]).as_py() == len(rows) == left.rows["accepted"] < before.rows["accepted"]
    assert pc.min(rows["rated_at"]).as_py() >= since.timestamp()
    assert pc.sum(left.read_items()["n_ratings"]).as_py() == len(rows)
    assert profile(left).rating_mean == pytest.approx(pc.mean(rows["rating"]).as_py())
    half = sabotage.ingested(tmp_path / "half", (ratings[ratings.rated_at >= since.timestamp()].iloc[::2], items))
    assert changes(profile(half), profile(left), shared(half, left), settings), "what is lost besides is still one"
