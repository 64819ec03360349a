"""The catalogue is what the manifests say; two releases side by side."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from schemas.errors import NotFound
from tests.conftest import Built
from tests.warehouse.conftest import add_release
from warehouse import catalog
from warehouse.compare import compare
from warehouse.promotion import promote, rollback
from warehouse.pruning import drop, remove
from warehouse.release import read_manifest, sealed_ids


def rows(built: Built, query: str) -> list[tuple]:
    connection = sqlite3.connect(f"file:{built.warehouse.catalog}?mode=ro", uri=True)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


HERE = "release in (select release from releases where not is_pruned)"


def assert_is_the_manifests(built: Built) -> None:
    manifests = [read_manifest(built.warehouse.sealed(name)) for name in sealed_ids(built.warehouse)]
    assert rows(
        built,
        "select release, source, served_model, n_read, n_accepted, n_duplicates, n_quarantined, bytes from releases where not is_pruned order by 1",
    ) == [
        (
            m.release,
            m.source,
            m.served_model,
            *(m.rows[name] for name in ("read", "accepted", "duplicates", "quarantined")),
            sum(file["bytes"] for file in m.files.values()),
        )
        for m in manifests
    ]
    assert rows(built, f"select release, model, status from models where {HERE} order by 1, 2") == [
        (m.release, model["model"], model["status"]) for m in manifests for model in sorted(m.models, key=lambda row: row["model"])
    ]
    assert rows(built, f"select release, name, severity, n_rows, sample from checks where {HERE} order by 1, 2") == [
        (m.release, row["name"], row["severity"], row["n_rows"], row["sample"]) for m in manifests for row in m.check_rows
    ]
    assert sorted(rows(built, f"select release, model, metric, k, value from metrics where {HERE}")) == sorted(
        (m.release, row["model"], row["metric"], row["k"], row["value"]) for m in manifests for row in m.metrics
    )


def test_the_catalogue_of_a_run_is_the_manifests(purchase_release: Built) -> None:
    assert_is_the_manifests(purchase_release)
    assert rows(purchase_release, "select release, is_current from releases") == [(purchase_release.release_id, 1)]


def test_rebuilt_from_nothing_or_from_an_older_state_it_is_the_manifests(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    catalog.rebuild(copied.warehouse)
    assert_is_the_manifests(copied)
    first = copied.manifest.verdict["reason"]
    promote(copied.warehouse, second, reason="newer")
    catalog.rebuild(copied.warehouse)
    before = {name: rows(copied, f"select * from {name} order by 1, 2, 3") for name in ("models", "metrics", "verdicts", "checks")}
    drop(copied.warehouse, [copied.release_id])
    catalog.rebuild(copied.warehouse)
    assert_is_the_manifests(copied)
    assert rows(copied, "select release, is_current, is_pruned from releases order by 1") == [(copied.release_id, 0, 1), (second, 1, 0)]
    assert before == {name: rows(copied, f"select * from {name} order by 1, 2, 3") for name in before}
    assert rows(copied, "select position, release, previous, reason from promotions") == [
        (1, copied.release_id, None, first),
        (2, second, copied.release_id, "newer"),
    ]
    copied.warehouse.catalog.unlink()
    catalog.rebuild(copied.warehouse)
    assert_is_the_manifests(copied)
    assert rows(copied, "select release from releases") == [(second,)]
    assert rows(copied, "select * from metrics order by 1, 2, 3") == [row for row in before["metrics"] if row[0] == second]


def test_a_catalogue_of_an_earlier_version_is_taken_over(copied: Built) -> None:
    with closing(sqlite3.connect(copied.warehouse.catalog)) as connection, connection:
        connection.execute("drop table releases")
        connection.execute("create table releases (release text primary key, source text, is_current integer)")
        connection.execute("insert into releases values ('20200101T000000Z', 'table', 1)")
        connection.execute("drop table metrics")
    catalog.rebuild(copied.warehouse)
    assert_is_the_manifests(copied)
    assert rows(copied, "select release, source, n_read, is_current, is_pruned from releases where is_pruned") == [
        ("20200101T000000Z", "table", None, 0, 1)
    ]


def test_a_release_that_was_rolled_back_from_is_marked(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    promote(copied.warehouse, second, reason="newer")
    rollback(copied.warehouse, reason="broken titles")
    catalog.rebuild(copied.warehouse)
    found = rows(copied, "select release, rolled_back_reason from releases order by 1")
    assert found == [(copied.release_id, None), (second, f"rolled back from {second}: broken titles")]


def test_a_damaged_release_does_not_keep_the_others_out_of_the_catalogue(copied: Built) -> None:
    second = copied.warehouse.sealed(add_release(copied, "20990101T000000Z"))
    second.manifest.chmod(0o644)
    second.manifest.write_text("{")
    catalog.rebuild(copied.warehouse)
    assert rows(copied, "select release from releases") == [(copied.release_id,)]


def test_the_catalogue_of_an_empty_warehouse_is_empty(copied: Built) -> None:
    remove(copied.release.folder)
    copied.warehouse.current.unlink()
    copied.warehouse.catalog.unlink()
    catalog.rebuild(copied.warehouse)
    assert rows(copied, "select name from sqlite_master where name in ('releases', 'models', 'metrics')") == []


def test_a_release_compared_with_its_copy_shares_everything(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    found = compare(copied.warehouse, copied.release_id, second)
    assert (found["n_users"], found["mean_overlap_at_10"]) == (copied.manifest.counts["users"], 1.0) and found["other_tables"] == []
    rows = {row["figure"]: row for row in found["rows"] if not row["figure"].startswith("verdict ")}  # which is of figures of its own
    assert all(row["a"] == row["b"] and row.get("a_low") == row.get("b_low") for row in rows.values())
    assert found["note"] == "" and all(row["difference"] == 0 for row in rows.values() if isinstance(row["a"], (int, float)))
    assert rows["rows accepted"]["a"] == copied.manifest.rows["accepted"]
    served = copied.manifest.served_model
    assert rows["served model"]["b"] == served and rows[f"{served} ndcg@10"]["a_low"] <= rows[f"{served} ndcg@10"]["a"]
    assert found["users_by_shared"][10] == found["n_users"] == sum(found["users_by_shared"])
    assert (found["risen"], found["fallen"], found["other_settings"]) == ([], [], [])
    json.dumps(found)


def test_items_that_are_in_more_and_in_fewer_top_tens_are_named(copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    path = copied.warehouse.sealed(second).database
    for one in (path, path.parent):
        one.chmod(0o755)
    with closing(sqlite3.connect(path)) as connection, connection:
        (most, n), (rest, n_rest) = connection.execute(
            "select item_id, n_first_tens from item_lists order by n_first_tens desc, item_id limit 2"
        ).fetchall()
        connection.execute("delete from item_lists where item_id = ?", [most])
        connection.execute("update item_lists set n_first_tens = n_first_tens + 3 where item_id = ?", [rest])
        user = connection.execute("select min(user_id) from users").fetchone()
        connection.execute("delete from recommendations where user_id = ? and rank <= 4", user)
    found = compare(copied.warehouse, copied.release_id, second)
    assert [(row["item_id"], row["a"], row["b"]) for row in found["fallen"]] == [(most, n, 0)]
    assert [(row["item_id"], row["a"], row["b"]) for row in found["risen"]] == [(rest, n_rest, n_rest + 3)]
    assert all(row["title"] for row in found["fallen"] + found["risen"])
    assert (found["users_by_shared"][6], found["users_by_shared"][10]) == (1, found["n_users"] - 1)


def test_tables_with_another_content_are_named(copied: Built) -> None:
    tables = {name: dict(table) for name, table in copied.manifest.tables.items()}
    tables["popular"]["content_sha256"] = "0" * 64
    del tables["metrics"]
    third = add_release(copied, "20990102T000000Z", tables=tables)
    assert compare(copied.warehouse, copied.release_id, third)["other_tables"] == ["metrics", "popular"]


def test_metrics_of_other_held_out_rows_have_no_difference_and_the_verdict_of_both_has_one(copied: Built) -> None:
    measure = {"metric": "nDCG@10", "challenger": 0.5, "champion": 0.25, "n_users": 7}
    second = add_release(copied, "20990101T000000Z")
    rewritten(
        copied, second, rows=copied.manifest.rows | {"read": 1_000_210}, verdict={"champion": copied.release_id, "measures": [measure]}
    )
    served = copied.manifest.served_model
    for a, b, sign in ((copied.release_id, second, 1), (second, copied.release_id, -1)):
        found = compare(copied.warehouse, a, b)
        rows = {row["figure"]: row for row in found["rows"]}
        assert "other held-out rows" in found["note"] and found["note"].endswith("; the verdict is of both on the same users.")
        assert found["rows"][0]["figure"] == "verdict nDCG@10, 7 users of both" and found["rows"][0]["difference"] == sign * 0.25
        assert rows[f"{served} ndcg@10"]["difference"] is None and rows[f"{served} ndcg@10"]["a"] > 0
        assert (
            rows["rows read"]["difference"] == sign * (1_000_210 - copied.manifest.rows["read"]) and rows["table users"]["difference"] == 0
        )


def rewritten(built: Built, name: str, **changed: object) -> None:
    """A sealed release with another manifest."""
    path = built.warehouse.sealed(name).manifest
    path.chmod(0o644)
    path.write_text(replace(read_manifest(built.warehouse.sealed(name)), **changed).to_json(), encoding="utf-8")


def test_a_release_that_is_not_there_is_compared_with_none(copied: Built) -> None:
    with pytest.raises(NotFound, match="20000101T000000Z"):
        compare(copied.warehouse, copied.release_id, "20000101T000000Z")


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 200, b"SQLite format 3\0" + bytes(8_000)])
def test_a_damaged_catalogue_is_made_anew(copied: Built, content: bytes) -> None:
    catalog.rebuild(copied.warehouse)
    copied.warehouse.catalog.write_bytes(content)
    catalog.rebuild(copied.warehouse)
    with closing(sqlite3.connect(copied.warehouse.catalog)) as connection:
        assert connection.execute("select release from releases").fetchall() == [(copied.release_id,)]


KILLED = """
import os, signal, sys
from pathlib import Path
import sqlite_utils
from warehouse import catalog
from warehouse.layout import Warehouse
class Database(sqlite_utils.Database):
    def close(self):  # every row is written, the transaction of one more is open, and its journal is on the disk
        self.execute("pragma cache_size = 1"); self.execute("begin"); self.execute("delete from metrics")
        os.kill(os.getpid(), signal.SIGKILL)
sqlite_utils.Database = Database
catalog.rebuild(Warehouse(Path(sys.argv[1])))
"""


def test_what_a_killed_process_left_of_a_catalogue_is_gone_with_the_next(copied: Built) -> None:
    folder = copied.warehouse.folder
    before = {path.name for path in folder.iterdir()}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], timeout=60)
    assert killed.returncode == -9
    assert {path.name for path in folder.iterdir()} - before >= {".catalog.db.tmp"}
    catalog.rebuild(copied.warehouse)
    assert {path.name for path in folder.iterdir()} <= before | {".lock"}
    assert_is_the_manifests(copied)


def test_a_full_disk_leaves_the_catalogue_as_it_was_and_says_so(copied: Built) -> None:
    catalog.rebuild(copied.warehouse)
    before = copied.warehouse.catalog.read_bytes()
    script = "import resource, sys; from jobs.cli import main; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(main(sys.argv[1:]))"
    add_release(copied, "20990101T000000Z")
    command = ["releases", "promote", "20990101T000000Z", "--warehouse", str(copied.warehouse.folder)]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "cannot be written" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert copied.warehouse.catalog.read_bytes() == before and not list(copied.warehouse.folder.glob(".catalog*"))
