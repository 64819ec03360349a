"""Forgetting: gone from the overlay and the archive at once, never in a later release, and every remaining trace reported."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.cli import main
from jobs.ingest.first_pass import Reading
from jobs.privacy.forget import FILED_UNDER, forget, leave_out, REASON
from jobs.run import run
from jobs.sources import Batch, QUARANTINE_SCHEMA
from jobs.sources.table import open_table
from schemas.errors import HeldBack, StepError, UsageError
from tests.conftest import Built, small_settings, write_tiny_ratings
from tests.jobs.conftest import run_steps
from tests.warehouse.conftest import add_release
from warehouse import forgotten, overlay, parquet
from warehouse.layout import Warehouse
from warehouse.online import archive, archived
from warehouse.overlay import Entry
from warehouse.promotion import promote
from warehouse.pruning import drop
from warehouse.release import current_id, read_manifest, sealed_ids
from warehouse.sqlite import open_immutable

NOW = 1_700_000_000
USER = 117_733_119  # longer than chance would put into an id of random digits


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
    refused = pa.table([["f.csv"] * 3, [4, 6, 7], ['"anna",z,bad', "susanna,z,bad", "1::anna ::z"], ["r"] * 3], schema=QUARANTINE_SCHEMA)
    kept, gone = leave_out(forgotten.read(warehouse.forgotten), Batch(accepted, refused, 6), n_before=3)
    assert kept["user_id"].to_pylist() == ["ben"]
    assert len(kept) + len(gone) == 6
    rows = [tuple(row.values()) for row in gone.to_pylist()]
    assert rows == [
        ("f.csv", 4, "", "r"),
        ("f.csv", 6, "susanna,z,bad", "r"),
        ("f.csv", 7, "", "r"),
        (FILED_UNDER, 4, "", REASON),
        (FILED_UNDER, 5, "", REASON),
    ]


def test_a_forgotten_users_rows_in_several_files_are_rows_of_the_quarantine_each(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w")
    warehouse.folder.mkdir()
    forgotten.add(warehouse, 7)
    for month in (1, 2):
        (tmp_path / "sales" / f"month={month}").mkdir(parents=True)
        (tmp_path / "sales" / f"month={month}" / "rows.csv").write_text("user_id,item_id\n7,2\n8,2\n")
    read = Reading(warehouse.sealed("r"), forgotten.read(warehouse.forgotten))
    for batch in open_table(tmp_path / "sales", latest=datetime.now(UTC)).interactions():
        read.take(batch)
    read.close(QUARANTINE_SCHEMA.empty_table())
    rows = parquet.read(warehouse.sealed("r").table("quarantine")).to_pylist()
    assert [(row["source"], row["line"]) for row in rows] == [(FILED_UNDER, 1), (FILED_UNDER, 2)] and read.n_accepted == 2


def test_online_ratings_go_at_once_from_overlay_and_archive(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with closing(overlay.create(warehouse.overlay)) as connection:
        for user in (USER, str(USER), "ben"):
            overlay.append(connection, Entry(0, user, "x", 4.0, 1.0, NOW, NOW))
    archive(warehouse)
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay.append(connection, Entry(0, USER, "y", 2.0, 1.0, NOW, NOW))
    assert [found for found in forget(warehouse, str(USER))] == []
    with closing(overlay.create(warehouse.overlay)) as connection:
        assert [entry.user_id for entry in overlay.entries(connection)] == ["ben"]
    assert archived(warehouse, received_until=NOW)["user_id"].to_pylist() == ["ben"]
    assert str(USER).encode() not in warehouse.overlay.read_bytes()


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
    remedies = {one.remedy for one in forget(built.warehouse, str(user)) if one.place.startswith("releases/")}
    assert remedies == {f"promote a new release, then `cinematch releases prune {built.release_id}`"}


def test_a_dry_run_forgets_nothing_and_says_until_when_rows_can_be_read(
    movie_release: Built, copy_warehouse: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    built: Built = copy_warehouse(movie_release)
    second = add_release(built, "20990101T000000Z")
    with open_immutable(built.release.database) as database:
        (user,) = database.execute("select user_id from users order by user_id limit 1").fetchone()
    assert main(["forget", str(user), "--dry-run", "--warehouse", str(built.warehouse.folder)]) == 0
    shown = capsys.readouterr().out
    assert f"user {user} would be forgotten; nothing was changed\n" in shown
    assert user not in forgotten.read(built.warehouse.forgotten)
    until = f"until a new release is promoted in place of {built.release_id} and `cinematch releases prune {built.release_id} {second}` is run\n"
    assert shown.count("until") == 1 and f"in sealed files, which a server shows without them, {until}" in shown
    promote(built.warehouse, second, reason="newer")
    drop(built.warehouse, [built.release_id])
    assert {one.place.split("/")[1] for one in forget(built.warehouse, str(user)) if one.place.startswith("releases/")} == {second}


def test_nobody_is_forgotten_in_a_warehouse_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such warehouse"):
        forget(Warehouse(tmp_path / "elsewhere"), "anna")


@pytest.mark.parametrize("text", ["0777", "+777", " 777", "777.0", "anna", "7_77"])
def test_what_is_no_id_of_the_releases_forgets_and_deletes_nothing(text: str, movie_release: Built, copy_warehouse: Callable) -> None:
    warehouse = copy_warehouse(movie_release).warehouse
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay.append(connection, Entry(0, 777, 1, 4.0, 1.0, NOW, NOW))
    with pytest.raises(UsageError, match="nobody was forgotten"):
        forget(warehouse, text)
    assert not warehouse.forgotten.exists()
    with closing(overlay.create(warehouse.overlay)) as connection:
        assert [entry.user_id for entry in overlay.entries(connection)] == [777]
        forget(warehouse, "777")
        assert not list(overlay.entries(connection)) and 777 in forgotten.read(warehouse.forgotten)


def test_archives_and_copies_are_looked_into_or_named(movie_release: Built, copy_warehouse: Callable) -> None:
    built: Built = copy_warehouse(movie_release)
    raw = built.warehouse.raw / "movielens"
    raw.mkdir(parents=True)
    rows = "user_id,item_id,rating\n777,1,4\n1777,1,4\n777,2,5\n"
    (raw / "kept.csv.gz").write_bytes(gzip.compress(rows.encode()))
    (raw / "broken.csv.gz").write_bytes(gzip.compress(rows.encode())[:-9])
    (raw / "half.zip.part").write_bytes(b"PK\x03\x04 half of one")
    (raw / "half.csv.part").write_text(rows)
    with zipfile.ZipFile(raw / "small.zip", "w") as archive:
        archive.writestr("small/ratings.csv", rows)
        archive.writestr("small/more.zip", b"PK\x03\x04\0\0\0\0")
    copy = built.warehouse.releases / f"{built.release_id}.bak"
    shutil.copytree(built.release.folder, copy)
    with open_immutable(built.release.database) as database:
        user, n = database.execute("select user_id, n_ratings from users where user_id = 77").fetchone()
    found = {one.place: one.n for one in forget(built.warehouse, "777")}
    inside = "raw/movielens"
    assert found[f"{inside}/kept.csv.gz"] == found[f"{inside}/small.zip small/ratings.csv"] == 2
    for name in ("broken.csv.gz", "half.zip.part", "half.csv.part", "small.zip small/more.zip"):
        assert found[f"{inside}/{name}"] is None, name
    found = {one.place: one.n for one in forget(built.warehouse, str(user))}
    assert found[f"releases/{copy.name}/cinematch.db ratings"] == found[f"releases/{copy.name}/tables/ratings.parquet"] == n


def test_a_release_that_a_forgotten_user_is_in_is_not_sealed(ready: Warehouse) -> None:
    found = forget(ready, "3")
    assert any(one.place.startswith("releases/.staging/") and one.n for one in found), found
    with pytest.raises(StepError, match="forgotten while it was built"):
        run_steps(ready, "seal")
    assert sealed_ids(ready) == []


def test_a_release_that_was_sealed_before_a_user_was_forgotten_is_promoted_by_hand_alone(
    movie_release: Built, copy_warehouse: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    built: Built = copy_warehouse(movie_release)
    built.warehouse.current.unlink()
    forget(built.warehouse, "3")
    with pytest.raises(HeldBack, match="1 users who were forgotten"):
        promote(built.warehouse, built.release_id, reason="", by="verdict")
    assert current_id(built.warehouse) is None
    assert main(["releases", "promote", built.release_id, "--warehouse", str(built.warehouse.folder)]) == 0
    assert current_id(built.warehouse) == built.release_id and "has 1 users who were forgotten since" in capsys.readouterr().err


def test_no_later_release_knows_them_nor_what_is_too_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings = write_tiny_ratings(tmp_path / "ratings.csv", n_users=14)
    with ratings.open("a") as file:
        file.write("3,1,not a number,1600000000\n5,1,4,1000000000\n5,2,not a number,1000000000\n")
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.folder.mkdir()
    forget(warehouse, "3")
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay.append(connection, Entry(0, 6, 1, 4.0, 1.0, 1_000_000_000, NOW))
    settings = small_settings(
        warehouse.folder, source="table", path=str(ratings), models="popular,ials", serve="ials", ials_factors=4, retention_days=2000,
        as_of="2024-01-01",
    )  # fmt: skip
    figures = run(settings)
    assert figures["n_expired"] == 3
    assert "retention: 3 interactions before 2018-07-11 00:00 left out, unread (retention_days 2000)" in capsys.readouterr().out
    release = warehouse.sealed(figures["release"])
    manifest = read_manifest(release)
    assert manifest.rows == {"read": 141, "accepted": 130, "duplicates": 0, "quarantined": 11}
    assert [one for one in forget(warehouse, "3")] == []
    assert "3" not in {text.split(",")[0] for text in parquet.read(release.table("quarantine"))["text"].to_pylist()}
