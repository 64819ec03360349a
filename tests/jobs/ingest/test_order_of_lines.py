"""Where a row stands in its file says nothing: not without times, and not among the rows of one moment."""

from __future__ import annotations

import csv
import random
import sqlite3
from contextlib import closing
from datetime import datetime, UTC
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench.accuracy.data import read
from jobs.kernels.evaluation.protocols import last_fraction
from jobs.run import run, run_step
from jobs.sources.open import open_source
from jobs.staging.record import facts
from schemas.settings import Settings
from serving.lookups.pairs import _has
from serving.opened import OpenRelease
from serving.solve import solve, solve_pairs, stored_history
from tests.conftest import Built, small_settings
from tests.jobs.conftest import STAGED_ID as ID
from warehouse import parquet
from warehouse.layout import Warehouse
from warehouse.overlay import Held

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
DOUBLE = (3, 33)  # one film under two ids; other titles come several times too, but without a year
HEADER = ("user_id", "item_id", "rating", "rated_at", "title")


def written(path: Path, *, moments: int, n_users: int = 40) -> list[list]:
    """Rows sorted by user and item, of every user within the first `moments` moments; some pairs have two ratings."""
    draw, rows = random.Random(5), []
    for user in range(n_users):
        for item in sorted(draw.sample(range(50), 15)):
            at = 1_600_000_000 + draw.randrange(moments)
            title = "Emma (1996)" if item in DOUBLE else f"Film {item % 7}"
            rows += [[user, item, stars, at, title] for stars in draw.sample(range(1, 6), 1 + (item % 6 == 0))]
    write(path, rows)
    return rows


def write(path: Path, rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def settings_for(folder: Path, path: Path, columns: str, **changed) -> Settings:
    return small_settings(
        folder,
        source="table",
        path=str(path),
        columns=columns,
        holdout_users=0.5,
        models="popular,content,ials,als,transitions",
        serve="ials",
        ials_factors=4,
        als_factors=4,
        parity_users=12,
        **changed,
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    """Releases of a file without times that is sorted, of one whose lines are shuffled, and of a table of a database with the same rows."""
    tmp_path = tmp_path_factory.mktemp("lines")
    rows = written(tmp_path / "sorted.csv", moments=1)
    random.Random(1).shuffle(rows)
    write(tmp_path / "shuffled.csv", rows)
    with closing(sqlite3.connect(tmp_path / "shuffled.db")) as connection:
        connection.execute("create table ratings (user_id integer, item_id integer, rating real, rated_at integer, title text)")
        connection.executemany("insert into ratings values (?, ?, ?, ?, ?)", rows)
        connection.commit()
    found = []
    for name in ("sorted.csv", "shuffled.csv", "shuffled.db"):
        warehouse = Warehouse(tmp_path / name.replace(".", "-"))
        figures = run(settings_for(warehouse.folder, tmp_path / name, "user_id=user_id,item_id=item_id,rating=rating,title=title"))
        found.append(Built(warehouse, figures["release"]))
    return found


def test_a_shuffled_file_or_table_without_times_gives_the_same_release(built: list[Built]) -> None:
    manifests = [one.manifest for one in built]
    first, second, third = (
        {name: table["content_sha256"] for name, table in manifest.tables.items() if name != "quarantine"} for manifest in manifests
    )
    assert first == second == third and manifests[0].rows["duplicates"] > 50
    transitions = next(row for row in manifests[0].models if row["model"] == "transitions")
    assert (transitions["status"], transitions["message"]) == ("skipped", "no user has interactions of two different times")


def test_a_film_of_two_ids_is_in_no_list_of_who_has_the_other_in_the_batch_and_online(built: list[Built]) -> None:
    opened = OpenRelease(built[0].release)
    try:
        rows = opened.connection.execute("select item_id from items where same_item_id = 3 order by item_id").fetchall()
        assert [row[0] for row in rows] == list(DOUBLE) and opened.same([33, 7]) == {3, 7, 33}
        parity = built[0].manifest.parity
        assert parity["n_same_lists"] == parity["n_users"] > 0  # sealing has asked the lists for doubles, too
        for user in range(40):
            stored = [
                row[0] for row in opened.connection.execute("select item_id from recommendations where user_id = ? order by rank", [user])
            ]
            assert [row.item_id for row in solve(opened, stored_history(opened, user), n=20).rows] == stored
        for item, other in (DOUBLE, DOUBLE[::-1]):
            for history in ([item], [item, 1, 2, 4, 5]):  # too short to rank by, and not
                listed = [row.item_id for row in solve(opened, {i: Held(5.0, 1.0, None) for i in history}, n=50).rows]
                assert len(listed) == 49 - len(history) and not {item, other} & set(listed)
            pair = solve_pairs(opened, {item: Held(5.0, 1.0, None)}, [other])
            assert _has(opened, other, pair) == {"is_rated": False, "rated_as": item} and _has(opened, item, pair)["rated_as"] is None
        assert len({row.item_id for row in solve(opened, {}, n=50).rows} & set(DOUBLE)) == 1
        for table, column, group in (("popular", "item_id", "genre"), ("similar_items", "similar_item_id", "item_id, source")):
            query = f"select 1 from {table} where {column} in {DOUBLE} group by {group} having count(*) > 1"
            assert opened.connection.execute(query).fetchone() is None
        assert opened.connection.execute("select 1 from similar_items where item_id = 3 and similar_item_id = 33").fetchone() is None
    finally:
        opened.retire()
