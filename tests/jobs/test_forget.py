"""Forgetting: gone from the overlay and the archive at once, never in a later release, and every remaining trace reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.forget import FILED_UNDER, forget, leave_out, REASON
from jobs.online import archive, archived
from jobs.run import run
from jobs.sources import Batch, QUARANTINE_SCHEMA
from schemas.errors import UsageError
from tests.conftest import Built, small_settings, write_tiny_ratings
from warehouse import forgotten, overlay, parquet
from warehouse.layout import Warehouse
from warehouse.overlay import Entry
from warehouse.release import read_manifest
from warehouse.sqlite import open_immutable

NOW = 1_700_000_000


def test_the_list_of_the_forgotten_names_nobody(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    assert "anna" not in forgotten.read(warehouse.forgotten)
    forgotten.add(warehouse, "anna")
    forgotten.add(warehouse, "anna")
    forgotten.add(warehouse, 117)
    found = forgotten.read(warehouse.forgotten)
    assert "anna" in found and 117 in found and "117" in found and "ann" not in found and len(found) == 2
    assert "anna" not in warehouse.forgotten.read_text() and "117:" not in warehouse.forgotten.read_text()


def test_a_forgotten_users_rows_are_refused_without_their_text(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    forgotten.add(warehouse, "anna")
    accepted = pa.table({"user_id": ["anna", "ben", "anna"], "item_id": ["x", "x", "y"], "line": [2, 3, 5]})
    refused = pa.table(
        [["f.csv"] * 3, [4, 6, 7], ['"anna",z,bad', "susanna,z,bad", "1::anna ::z"], ["r"] * 3], schema=QUARANTINE_SCHEMA
    )
    kept, gone = leave_out(forgotten.read(warehouse.forgotten), Batch(accepted, refused, 6))
    assert kept["user_id"].to_pylist() == ["ben"]
    assert len(kept) + len(gone) == 6
    rows = [tuple(row.values()) for row in gone.to_pylist()]
    assert rows == [
        ("f.csv", 4, "", "r"), ("f.csv", 6, "susanna,z,bad", "r"), ("f.csv", 7, "", "r"), (FILED_UNDER, 2, "", REASON), (FILED_UNDER, 5, "", REASON),
    ]


def test_online_ratings_go_at_once_from_overlay_and_archive(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with closing(overlay.create(warehouse.overlay)) as connection:
        for user in (117, "117", "ben"):
            overlay.append(connection, Entry(0, user, "x", 4.0, 1.0, NOW, NOW))
    archive(warehouse)
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay.append(connection, Entry(0, 117, "y", 2.0, 1.0, NOW, NOW))
    assert [found for found in forget(warehouse, "117")] == []
    with closing(overlay.create(warehouse.overlay)) as connection:
        assert [entry.user_id for entry in overlay.entries(connection)] == ["ben"]
    assert archived(warehouse, received_until=NOW)["user_id"].to_pylist() == ["ben"]
    assert b"117" not in warehouse.overlay.read_bytes()


def test_the_report_counts_every_trace(movie_release: Built, copy_warehouse: Callable) -> None:
    built: Built = copy_warehouse(movie_release)
    with open_immutable(built.release.database) as database:
        user, n = database.execute("select user_id, n_ratings from users order by user_id limit 1").fetchone()
    log = built.warehouse.folder / "serve.log"
    log.write_text(f"GET,{user},200\nGET,{user}9,200\n")
    found = {one.place: one.n for one in forget(built.warehouse, str(user))}
    settings, inside = built.manifest.settings, f"releases/{built.release_id}"
    assert found[f"{inside}/cinematch.db ratings"] == found[f"{inside}/tables/ratings.parquet"] == n
    assert found[f"{inside}/cinematch.db recommendations"] == settings["n"] and found[f"{inside}/tables/users.parquet"] == 1
    assert found["serve.log"] == 1
    assert all("prune" in one.remedy for one in forget(built.warehouse, str(user)) if one.place.startswith("releases/"))


def test_nobody_is_forgotten_in_a_warehouse_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such warehouse"):
        forget(Warehouse(tmp_path / "elsewhere"), "anna")


@pytest.mark.slow
def test_no_later_release_knows_them(tmp_path: Path) -> None:
    ratings = write_tiny_ratings(tmp_path / "ratings.csv", n_users=14)
    with ratings.open("a") as file:
        file.write("3,1,not a number,1600000000\n")
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.folder.mkdir()
    forget(warehouse, "3")
    figures = run(small_settings(warehouse.folder, source="table", path=str(ratings), models="popular,ials", serve="ials", ials_factors=4))
    release = warehouse.sealed(figures["release"])
    manifest = read_manifest(release)
    assert manifest.rows == {"read": 141, "accepted": 130, "duplicates": 0, "quarantined": 11}
    assert [one for one in forget(warehouse, "3")] == []
    assert "3" not in {text.split(",")[0] for text in parquet.read(release.table("quarantine"))["text"].to_pylist()}
