"""Where a row stands in its file says nothing: not without times, and not among the rows of one moment."""

from __future__ import annotations

import csv
import random
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench.accuracy.data import read
from jobs.kernels.protocols import last_fraction
from jobs.run import run, run_step
from jobs.sources.open import open_source
from jobs.step import facts
from schemas.settings import Settings
from tests.conftest import small_settings
from tests.jobs.conftest import STAGED_ID as ID
from warehouse import parquet
from warehouse.layout import Warehouse
from warehouse.release import read_manifest

LATEST = datetime(2026, 1, 1, tzinfo=timezone.utc)
HEADER = ("user_id", "item_id", "rating", "rated_at", "title")


def written(path: Path, *, moments: int, n_users: int = 40) -> list[list]:
    """Rows sorted by user and item, of every user within the first `moments` moments; some pairs have two ratings."""
    draw, rows = random.Random(5), []
    for user in range(n_users):
        for item in sorted(draw.sample(range(50), 15)):
            at = 1_600_000_000 + draw.randrange(moments)
            rows += [[user, item, stars, at, f"Film {item % 7}"] for stars in draw.sample(range(1, 6), 1 + (item % 6 == 0))]
    write(path, rows)
    return rows


def write(path: Path, rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def settings_for(folder: Path, path: Path, columns: str, **changed) -> Settings:
    return small_settings(
        folder, source="table", path=str(path), columns=columns, holdout_users=0.5, models="popular,content,ials,als,transitions", serve="ials",
        ials_factors=4, als_factors=4, parity_users=12, **changed,
    )


def held_out(warehouse: Warehouse) -> pa.Table:
    """The rows that ingest kept out, and the users with any."""
    n_parts = facts(warehouse.staged(ID)).n_parts
    rows = pa.concat_tables(pq.read_table(parquet.part(warehouse.staged(ID).work / "ratings", number)) for number in range(n_parts))
    return rows.filter(rows["is_held_out"])


def test_a_cut_inside_a_moment_is_drawn_and_the_bench_draws_the_same(tmp_path: Path) -> None:
    """Sorted by item, the last rows of a file are the highest ids; no moment may end in them."""
    path = tmp_path / "ratings.csv"
    written(path, moments=3)
    warehouse = Warehouse(tmp_path / "w")
    settings = settings_for(warehouse.folder, path, "user_id=user_id,item_id=item_id,rating=rating,rated_at=rated_at")
    run_step("ingest", warehouse, ID, settings)
    held = held_out(warehouse)
    pairs = set(zip(held["user_id"].to_pylist(), held["item_id"].to_pylist()))
    users = {user for user, _ in pairs}
    assert len(users) > 10 and len(pairs) == 3 * len(users)
    assert 18 < np.mean([item for _, item in pairs]) < 32  # of 0 to 49
    data = read(open_source(settings, raw=tmp_path, latest=LATEST), settings)
    split = last_fraction(data.rows, fraction=settings.holdout_fraction)
    assert {pair for pair in zip(data.rows.users[split.test].tolist(), data.rows.items[split.test].tolist()) if pair[0] in users} == pairs


@pytest.mark.slow
def test_a_shuffled_file_without_times_gives_the_same_release(tmp_path: Path) -> None:
    rows = written(tmp_path / "sorted.csv", moments=1)
    random.Random(1).shuffle(rows)
    write(tmp_path / "shuffled.csv", rows)
    manifests = []
    for name in ("sorted", "shuffled"):
        warehouse = Warehouse(tmp_path / name)
        figures = run(settings_for(warehouse.folder, tmp_path / f"{name}.csv", "user_id=user_id,item_id=item_id,rating=rating,title=title"))
        manifests.append(read_manifest(warehouse.sealed(figures["release"])))
    first, second = ({name: table["content_sha256"] for name, table in manifest.tables.items() if name != "quarantine"} for manifest in manifests)
    assert first == second and manifests[0].rows["duplicates"] > 50
    transitions = next(row for row in manifests[0].models if row["model"] == "transitions")
    assert (transitions["status"], transitions["message"]) == ("skipped", "no user has interactions of two different times")
