"""Steps one by one: the same bytes when run again, refused before their predecessor, equal to a whole run, and identical
downstream of given factors."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import datetime, UTC
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.run import run_step
from jobs.staging.record import record
from schemas.checks import all_checks
from schemas.errors import CheckError, ReleaseError, SettingError, SourceError, StepError
from tests.conftest import build, Built, small_settings, write_tiny_ratings
from tests.jobs.conftest import run_steps, STAGED_ID as ID, TINY
from warehouse.layout import Release, Warehouse
from warehouse.release import current_id, sealed_ids
from warehouse.signature import make_key, trusted
from warehouse.sqlite import open_immutable

BEFORE_TRAINING = ("items", "item_genres", "users", "user_attributes", "ratings", "quarantine")


def content(release: Release) -> dict[str, str]:
    """Digest of every file that a step left; not of records, which hold seconds, nor of Spark's own scratch, nor of the arrays
    that training makes for itself."""
    return {
        path.relative_to(release.folder.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in (release.folder, release.work)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {"steps", "spark", "interactions"} & set(path.parts)
    }


def test_downstream_of_given_factors_every_table_is_the_same(copied: Warehouse, ready: Warehouse) -> None:
    run_steps(copied, "evaluate", "recommend", "seal")
    run_steps(ready, "seal")
    built = [Built(warehouse, ID).manifest for warehouse in (copied, ready)]
    digests = [{name: table["content_sha256"] for name, table in manifest.tables.items()} for manifest in built]
    assert digests[0] == digests[1]
    assert built[0].metrics == built[1].metrics and built[0].versions["code"] == built[1].versions["code"]


@pytest.mark.parametrize("name", ["ingest", "evaluate", "recommend"])
def test_a_step_again_gives_the_same_bytes(ready: Warehouse, name: str) -> None:
    first = content(ready.staged(ID))
    run_steps(ready, name)
    assert content(ready.staged(ID)) == first


def test_training_again_gives_the_same_factors(copied: Warehouse) -> None:
    folder = copied.staged(ID).models
    before = {path.relative_to(folder): np.load(path) for path in folder.rglob("*.npy")}
    run_steps(copied, "train")
    after = {path.relative_to(folder): np.load(path) for path in folder.rglob("*.npy")}
    assert before.keys() == after.keys()
    for path, array in before.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(after[path], array, atol=1e-4, err_msg=str(path))
        else:
            np.testing.assert_array_equal(after[path], array, err_msg=str(path))


def test_steps_one_by_one_are_a_run(ready: Warehouse, tmp_path: Path) -> None:
    run_steps(ready, "seal", "promote")
    whole = build(tmp_path / "whole", path=str(ready.folder / "ratings.csv"), **TINY)
    stepwise = Built(ready, ID)
    for name in BEFORE_TRAINING:
        assert stepwise.manifest.tables[name]["content_sha256"] == whole.manifest.tables[name]["content_sha256"], name
    assert (stepwise.manifest.rows, stepwise.manifest.counts) == (whole.manifest.rows, whole.manifest.counts)
    scores = [pq.read_table(built.release.table("recommendations")).to_pandas() for built in (stepwise, whole)]
    keys = ["user_id", "item_id"]
    joined = scores[0].merge(scores[1], on=keys, suffixes=("", "_whole"))
    assert len(joined) == len(scores[0]) == len(scores[1])
    np.testing.assert_allclose(joined["score"], joined["score_whole"], atol=1e-3)
    assert current_id(ready) == ID


def test_a_model_that_cannot_be_is_recorded_and_the_release_goes_on(ready: Warehouse) -> None:
    run_steps(ready, "seal")
    built = Built(ready, ID)
    found = {row["model"]: row for row in built.manifest.models}
    assert found["content"]["status"] == "skipped" and "catalogue" in found["content"]["message"]
    assert {found[name]["status"] for name in ("als", "ials", "popular")} == {"trained"}
    similar = pq.read_table(built.release.table("similar_items"))
    assert set(similar["source"].to_pylist()) == {"collaborative"}


def test_a_step_before_its_predecessor_is_refused(copied: Warehouse) -> None:
    with pytest.raises(StepError, match="recommend: release other.*cinematch ingest --release other"):
        settings = small_settings(copied.folder, **TINY)
        run_step("recommend", copied, "other", settings)
    with pytest.raises(StepError, match=f"seal: release {ID} has no finished evaluate; run `cinematch evaluate"):
        run_steps(copied, "seal")


def test_running_a_step_again_makes_the_later_ones_undone(ready: Warehouse) -> None:
    staged = ready.staged(ID)
    run_steps(ready, "evaluate")
    assert staged.step("evaluate").exists() and not staged.step("recommend").exists() and staged.step("train").exists()


def test_a_sealed_release_is_not_built_again(ready: Warehouse) -> None:
    run_steps(ready, "seal")
    before = content(ready.sealed(ID))
    assert run_steps(ready, "ingest") == {"step": "ingest", "release": ID, "is_sealed": True}
    assert content(ready.sealed(ID)) == before


def test_what_a_check_finds_is_not_sealed(ready: Warehouse) -> None:
    """A part of recommendations changed between the steps: the item of rank 2 listed again at rank 3."""
    part = next(path for path in sorted((ready.staged(ID).work / "recommendations").glob("*.parquet")) if pq.read_metadata(path).num_rows)
    table = pq.read_table(part)
    items = table["item_id"].to_pylist()
    items[2] = items[1]
    pq.write_table(table.set_column(table.column_names.index("item_id"), "item_id", [items]).cast(table.schema), part)
    with pytest.raises(CheckError, match="a list holds an item once"):
        run_steps(ready, "seal")
    assert sealed_ids(ready) == []
    rows = {row["name"]: row for row in pq.read_table(ready.staged(ID).table("checks")).to_pylist()}
    assert (
        rows["a list holds an item once"]["n_rows"] == 1
        and json.loads(rows["a list holds an item once"]["sample"])[0]["item_id"] == items[1]
    )
    with closing(sqlite3.connect(ready.catalog)) as connection:
        told = connection.execute("select release, question, level, value, message from findings").fetchall()
    assert (ID, "seal_check", "error", 1, "a list holds an item once: not so for 1 of recommendations") in told
    assert len(told) == sum(row["n_rows"] > 0 and row["severity"] == "error" for row in rows.values())


def test_what_each_check_found_is_a_row_of_the_release_and_of_the_catalogue(ready: Warehouse) -> None:
    """The source has no catalogue and its models do not fail: of the warnings none has rows; of the errors none ever has."""
    run_steps(ready, "seal")
    built = Built(ready, ID)
    rows = pq.read_table(built.release.table("checks")).to_pylist()
    assert {row["name"]: (row["table_name"], row["severity"]) for row in rows} == {
        name: (check.table, check.severity) for name, check in all_checks().items()
    }
    assert rows == built.manifest.check_rows == built.manifest.checks["rows"] and built.manifest.counts["checks"] == len(rows)
    assert all((row["n_rows"], row["sample"]) == (0, "[]") for row in rows)
    with closing(open_immutable(built.release.database)) as connection:
        assert [dict(row) for row in connection.execute("select * from checks")] == rows
    with closing(sqlite3.connect(ready.catalog)) as connection:
        assert [name for (name,) in connection.execute("select name from checks where release = ?", [ID])] == [row["name"] for row in rows]


def test_too_few_interactions_are_refused_with_their_count(tmp_path: Path) -> None:
    path = write_tiny_ratings(tmp_path / "ratings.csv", n_users=3)
    with pytest.raises(SourceError, match="30 usable interactions.*expected at least 100"):
        build(tmp_path / "w", path=str(path), **TINY)
    assert not list(Warehouse(tmp_path / "w").staging.iterdir())


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("popular,content", "ials must be among them"),
        ("popular,ials,magic", "unknown magic; expected some of popular, content"),
    ],
)
def test_models_that_cannot_make_a_release_are_refused(copied: Warehouse, models: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        run_step("train", copied, ID, small_settings(copied.folder, **TINY | {"models": models}))


def test_a_release_as_of_a_moment_holds_what_had_happened_until_then(tmp_path: Path) -> None:
    """A backfill of a past week: later rows are refused one by one, so that rows still add up."""
    path = write_tiny_ratings(tmp_path / "ratings.csv")
    moments = sorted(int(line.split(",")[3]) for line in path.read_text().splitlines()[1:])
    middle = moments[len(moments) // 2]
    as_of = datetime.fromtimestamp(middle, UTC).isoformat()
    warehouse = Warehouse(tmp_path / "w")
    run_step("ingest", warehouse, ID, small_settings(warehouse.folder, path=str(path), source="table", as_of=as_of, min_interactions=10))
    work = warehouse.staged(ID).work
    kept = [moment for part in (work / "ratings").glob("*.parquet") for moment in pq.read_table(part)["rated_at"].to_pylist()]
    refused = pq.read_table(warehouse.staged(ID).table("quarantine"))["reason"].to_pylist()
    assert sorted(kept) == [moment for moment in moments if moment <= middle]
    assert len(refused) == sum(moment > middle for moment in moments) and all("in the future" in reason for reason in refused)
    assert record(warehouse.staged(ID), "ingest")["facts"]["as_of"] == as_of


def test_seal_signs_and_promote_takes_only_what_is_trusted(ready: Warehouse, tmp_path: Path) -> None:
    (public, foreign), secret = (make_key(tmp_path / name) for name in ("a.key", "b.key")), tmp_path / "a.key"

    def step(name: str, **given: object) -> dict:
        return run_step(name, ready, ID, small_settings(ready.folder, path=str(ready.folder / "ratings.csv"), **TINY | given))

    with pytest.raises(SettingError, match="sign_key: .*absent.key: cannot be read"):
        step("seal", sign_key=str(tmp_path / "absent.key"))
    step("seal", sign_key=str(secret))
    trusted(str(public)).check_release(ready.sealed(ID))
    with pytest.raises(ReleaseError, match="trusted_keys has"):
        step("promote", trusted_keys=str(foreign))
    assert current_id(ready) is None
    assert step("promote", trusted_keys=str(public))["verdict"]  # which decides, as ever
