"""A release whose lists are finished and whose blocked items are nowhere, in the batch and online."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from jobs.ingest.items import blocked_ids
from schemas.errors import SettingError
from serving.opened import OpenRelease
from serving.solve import solve, stored_history
from tests.conftest import build, Built
from warehouse.sqlite import open_immutable

BLOCKED = (3, 5, 8)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "blocked.txt").write_text("\n".join(map(str, BLOCKED)) + "\n\n999999\n")
    return build(
        folder / "w",
        source="sample",
        scale=0.05,
        holdout_users=0.5,
        diversity=0.3,
        calibration=0.3,
        blocked=str(folder / "blocked.txt"),
        models="popular,content,ials,als,item_neighbours",
        n=12,
    )


@pytest.fixture
def database(built: Built) -> Iterator[sqlite3.Connection]:
    with closing(open_immutable(built.release.database)) as connection:
        yield connection


def test_blocked_items_are_in_no_table_of_lists(built: Built, database: sqlite3.Connection) -> None:
    assert [row[0] for row in database.execute("select item_id from items where is_blocked order by item_id")] == list(BLOCKED)
    for table, column in (("recommendations", "item_id"), ("popular", "item_id"), ("similar_items", "similar_item_id")):
        assert database.execute(f"select count(*) from {table} where {column} in {BLOCKED}").fetchone()[0] == 0, table
    assert database.execute("select count(*) from ratings where item_id in (3, 5, 8)").fetchone()[0] > 0


def test_both_positions_are_recorded_and_what_it_cost(built: Built, database: sqlite3.Connection) -> None:
    served = built.manifest.served_model
    ranked, moved, unfinished = database.execute(
        "select count(*), sum(model_rank != rank), sum(model_rank is null) from recommendations where source = ?", [served]
    ).fetchone()
    assert ranked > 0 and moved > ranked / 4 and unfinished == 0
    found = {
        row["metric"]: row["value"]
        for row in built.manifest.metrics
        if row["model"] == served and row["k"] == 10 and row["protocol"] == "held_out_last"
    }
    assert found["intra_list_diversity"] > found["intra_list_diversity_before_finishing"]
    assert found["miscalibration"] < found["miscalibration_before_finishing"]
    assert -1 <= found["ndcg_cost_of_finishing"] <= 1


def test_lists_of_one_user_at_a_time_are_the_stored_ones(built: Built, database: sqlite3.Connection) -> None:
    parity = built.manifest.parity
    assert parity["n_same_lists"] == parity["n_users"] > 0 and parity["largest_relative_difference"] <= 1e-5
    assert main(["releases", "verify", built.release_id, "--warehouse", str(built.warehouse.folder)]) == 0


def test_the_server_solves_the_same_lists_and_lists_nothing_blocked(built: Built, database: sqlite3.Connection) -> None:
    opened = OpenRelease(built.release)
    try:
        assert opened.is_blocked(3) and not opened.is_blocked(4) and not opened.is_blocked(-1)
        for user in [row[0] for row in database.execute("select user_id from users order by user_id limit 20")]:
            stored = [row[0] for row in database.execute("select item_id from recommendations where user_id = ? order by rank", [user])]
            assert [row.item_id for row in solve(opened, stored_history(opened, user), n=12).rows] == stored
        for excluded in (None, np.arange(4)):
            assert not {row.item_id for row in solve(opened, {}, n=1_000, excluded=excluded).rows} & set(BLOCKED)
    finally:
        opened.retire()


def test_a_file_that_cannot_be_read_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="blocked: .*absent.txt cannot be read"):
        blocked_ids(str(tmp_path / "absent.txt"))
