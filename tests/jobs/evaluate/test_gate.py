"""The gate on real releases: the same again is promoted, a damaged one is held back, and nobody is judged on rows that the
champion was trained on."""

from __future__ import annotations

import csv
import json
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.cli import main
from jobs.evaluate.champion import Champion
from jobs.run import run, run_step
from jobs.staging.histories import VALIDATION
from jobs.staging.record import facts
from schemas.errors import HeldBack, StepError
from tests.conftest import small_settings
from warehouse import history, model_files, parquet, promotion, release as releases
from warehouse.layout import Warehouse
from warehouse.sqlite import open_immutable

N_USERS, N_ITEMS, SECOND = 120, 60, "20990101T000000Z"
SETTINGS = {
    "source": "table",
    "models": "popular,ials,als,item_neighbours",
    "serve": "item_neighbours",
    "ials_factors": 4,
    "als_factors": 4,
    "holdout_users": 0.6,
    "parity_users": 10,
    "n": 10,
    "explain_n": 3,
}


def write_weeks(path: Path, n_weeks: int) -> Path:
    """Ratings of users with one of three tastes, ten in the first week and two in each week after it."""
    draw = random.Random(4)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rating", "rated_at"])
        for user in range(N_USERS):
            own = [item for item in range(N_ITEMS) if item % 3 == user % 3]
            items = draw.sample(own, 14) + draw.sample([item for item in range(N_ITEMS) if item not in own], 4)
            draw.shuffle(items)
            rows = [
                [user, item, draw.choice((4, 5) if item in own else (1, 2, 3)), 1_600_000_000 + 3_600 * place]
                for place, item in enumerate(items)
            ]
            writer.writerows(rows[: 10 + 2 * (n_weeks - 1)])
    return path


def settings(warehouse: Warehouse, **changed):
    return small_settings(warehouse.folder, path=str(warehouse.folder / "ratings.csv"), **SETTINGS | changed)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A warehouse with one promoted release."""
    folder = tmp_path_factory.mktemp("gate")
    write_weeks(folder / "ratings.csv", 1)
    figures = run(settings(Warehouse(folder)))
    assert figures["is_promoted"]
    return Warehouse(folder)


@pytest.fixture
def champion(first: Warehouse, tmp_path: Path) -> Warehouse:
    return Warehouse(shutil.copytree(first.folder, tmp_path / "warehouse"))


def verdict(warehouse: Warehouse, release_id: str) -> dict:
    return releases.read_manifest(warehouse.sealed(release_id)).verdict


def test_the_first_release_beats_popularity(first: Warehouse) -> None:
    name = releases.current_id(first)
    found = verdict(first, name)
    assert found["champion"] is None and found["against"] == "popular" and found["decision"] == "promote"
    assert found["measures"][0]["difference"] > 0 and found["n_users"] >= 30
    assert history.promotions(first)[0]["reason"] == found["reason"] and history.promotions(first)[0]["by"] == "verdict"


def test_the_same_input_again_gives_the_same_figures_and_is_promoted(champion: Warehouse) -> None:
    before = releases.current_id(champion)
    figures = run(settings(champion), release_id=SECOND)
    found = verdict(champion, SECOND)
    assert figures["is_promoted"] and releases.current_id(champion) == SECOND
    assert (found["champion"], found["n_left_out"], found["decision"]) == (before, 0, "promote")
    ndcg = found["measures"][0]
    assert ndcg["difference"] == pytest.approx(0.0, abs=1e-9) and ndcg["challenger"] == pytest.approx(ndcg["champion"])
    metrics = {
        name: {
            (row["model"], row["metric"], row["k"]): (row["value"], row["low"], row["high"])
            for row in releases.read_manifest(champion.sealed(name)).metrics
        }
        for name in (before, SECOND)
    }
    assert metrics[SECOND].pop(("item_neighbours", "overlap_with_champion", 10))[0] == 1.0
    for key, values in metrics[before].items():
        assert metrics[SECOND][key] == pytest.approx(values, abs=1e-3), key


def damaged(warehouse: Warehouse, release_id: str) -> None:
    """Every step of a release whose model was trained on something else: its items are shifted before it is evaluated."""
    given = settings(warehouse)
    for name in ("ingest", "train"):
        run_step(name, warehouse, release_id, given)
    folder = warehouse.staged(release_id).model("item_neighbours")
    arrays, parameters = model_files.load(folder)
    shifted, indptr = (np.array(arrays["indices"]) + 1) % N_ITEMS, arrays["indptr"]
    order = np.concatenate([start + np.argsort(shifted[start:stop]) for start, stop in zip(indptr, indptr[1:])])
    model_files.save(
        folder,
        {"indptr": np.array(indptr), "indices": shifted[order].astype(np.int32), "data": np.array(arrays["data"])[order]},
        parameters,
    )
    for name in ("evaluate", "recommend", "seal"):
        run_step(name, warehouse, release_id, given)


def test_a_damaged_challenger_is_held_back_and_goes_on_by_hand_with_a_reason(
    champion: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    before = releases.current_id(champion)
    damaged(champion, SECOND)
    found = verdict(champion, SECOND)
    assert found["decision"] == "hold back" and "nDCG@10" in found["reason"] and found["champion"] == before

    promoting = ["promote", "--release", SECOND, "--warehouse", str(champion.folder)]
    assert main(promoting) == 7
    shown, said = capsys.readouterr()
    figures = json.loads(shown.splitlines()[-1])
    assert figures["is_promoted"] is False and figures["message"] in said and f"{before} goes on" in said
    assert releases.current_id(champion) == before and SECOND in releases.sealed_ids(champion)

    by_hand = ["releases", *promoting[:1], SECOND, *promoting[3:]]
    assert main(by_hand) == 7 and releases.current_id(champion) == before
    assert main([*by_hand, "--reason", "the shop was renumbered"]) == 0 and releases.current_id(champion) == SECOND
    last = history.promotions(champion)[-1]
    assert (last["reason"], last["by"], last["verdict"], last["previous"]) == ("the shop was renumbered", "hand", "hold back", before)
    with closing(sqlite3.connect(champion.catalog)) as catalog:
        assert catalog.execute("select release, reason, verdict from promotions order by position desc limit 1").fetchone() == (
            SECOND,
            "the shop was renumbered",
            "hold back",
        )
    assert main(["releases", "rollback", "--warehouse", str(champion.folder)]) == 0 and releases.current_id(champion) == before


def test_a_run_that_is_held_back_ends_with_its_status_and_leaves_the_champion(
    champion: Warehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Held to what nothing new can meet: every list the same as before."""
    monkeypatch.chdir(tmp_path)
    before = releases.current_id(champion)
    write_weeks(champion.folder / "ratings.csv", 2)
    given = settings(champion, gate_overlap=1.0)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.recorded().items() if value != ""]
    flags += [f"--path={given.path}", f"--warehouse={champion.folder}", "--spark-master=local[2]", "--spark-driver-memory=1g"]
    assert main(["run", "--release", SECOND, *flags]) == 7
    shown, said = capsys.readouterr()
    assert f"Release {SECOND}, held back" in shown and "Serve it" not in shown and f"release {SECOND} is held back" in said
    assert json.loads(shown.splitlines()[-1])["is_promoted"] is False
    assert releases.current_id(champion) == before and releases.sealed_ids(champion) == [before, SECOND]


def test_a_grown_history_leaves_nobody_out_and_another_seed_those_that_the_champion_knows(champion: Warehouse) -> None:
    """Who is held out depends on id and seed alone, and what is held out moves only forward in time."""
    write_weeks(champion.folder / "ratings.csv", 3)
    given = settings(champion)
    for name in ("ingest", "train", "evaluate"):
        figures = run_step(name, champion, SECOND, given)
    found = json.loads(champion.staged(SECOND).step("evaluate").read_text())["facts"]["verdict"]
    assert (found["n_left_out"], found["champion"]) == (0, releases.current_id(champion))
    assert figures["n_held_out_users"] >= found["n_users"] == found["n_held_out"] >= 30  # not all have liked what was held out
    rows = pa.concat_tables(map(parquet.read, parquet.parts(champion.staged(SECOND).work / "ratings")))
    tuned_by = set(rows.filter(pc.equal(rows["split"], VALIDATION))["user_id"].to_pylist())
    users = sorted(set(rows["user_id"].to_pylist()))
    knows = Champion(*releases.current(champion), np.zeros(0), np.zeros(0)).knows(users, [[]] * len(users))
    assert {user for user, is_known in zip(users, knows) if is_known} == tuned_by and len(tuned_by) > 10

    write_weeks(champion.folder / "ratings.csv", 1)
    other = settings(champion, seed=7)
    for name in ("ingest", "train", "evaluate"):
        figures = run_step(name, champion, SECOND, other)
    found = json.loads(champion.staged(SECOND).step("evaluate").read_text())["facts"]["verdict"]
    assert found["n_left_out"] > 0 and found["n_users"] < found["n_held_out"] <= figures["n_held_out_users"]


def test_a_source_that_was_cut_is_held_back_before_it_is_trained_and_may_be_accepted(
    champion: Warehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one command and as steps; no later step starts, and nothing is left that could be taken for a release."""
    monkeypatch.chdir(tmp_path)
    before = releases.current_id(champion)
    lines = (champion.folder / "ratings.csv").read_text().splitlines()
    (champion.folder / "ratings.csv").write_text("\n".join(lines[: 1 + len(lines) // 2]) + "\n")
    flags = [
        f"--{name}={value}"
        for name, value in {
            "warehouse": champion.folder,
            "path": champion.folder / "ratings.csv",
            "source": "table",
            "spark-master": "local[2]",
        }.items()
    ]
    assert main(["run", "--release", SECOND, *flags]) == 7
    shown, said = capsys.readouterr()
    figures = json.loads(shown.splitlines()[-1])
    assert figures["is_promoted"] is False and figures["message"] in said and "train_s" not in figures
    assert (
        "60 of the 120 users who were active in the later half are gone" in said
        and f"{before} goes on" in said
        and "--data-guard accept" in said
    )
    assert not champion.staged(SECOND).folder.exists() and releases.sealed_ids(champion) == [before]
    with closing(sqlite3.connect(champion.catalog)) as catalog:
        found = dict(catalog.execute("select question, value from findings where release = ?", [SECOND]))
    assert found["data_users_gone"] == pytest.approx(0.5) and found["data_rows"] == 600

    given = settings(champion)
    assert run_step("ingest", champion, SECOND, given)["is_promoted"] is False
    with pytest.raises(StepError, match="no finished ingest"):
        run_step("train", champion, SECOND, given)
    assert "is_promoted" not in run_step("ingest", champion, SECOND, settings(champion, data_guard="accept"))
    kept = facts(champion.staged(SECOND)).data
    assert kept["is_accepted"] and kept["against"] == before and kept["changes"][0]["figure"] == "users_gone"
    assert (kept["before"]["n_accepted"], kept["profile"]["n_accepted"]) == (1200, 600)


def test_items_that_were_mixed_up_hold_it_back_after_training_too(champion: Warehouse) -> None:
    """With every limit of the data guard taken away: the champion's own figure on this data tells."""
    mixed = random.Random(9).sample(range(N_ITEMS), N_ITEMS)
    header, *lines = (champion.folder / "ratings.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    (champion.folder / "ratings.csv").write_text(
        "\n".join([header, *(f"{user},{mixed[int(item)]},{rest[0]},{rest[1]}" for user, item, *rest in rows)]) + "\n"
    )
    open_wide = {name: 1 for name in ("guard_loss", "guard_retention", "guard_popular", "guard_changed", "guard_refused", "guard_scale")}
    for name in ("ingest", "train", "evaluate"):
        run_step(name, champion, SECOND, settings(champion, **open_wide))
    found = json.loads(champion.staged(SECOND).step("evaluate").read_text())["facts"]["verdict"]
    measures = {measure["metric"]: measure for measure in found["measures"]}
    assert found["decision"] == "hold back" and measures["nDCG@10"]["is_met"] and found["data"]["changes"] == []
    assert not measures["champion's nDCG@10"]["is_met"] and "the data has changed under it; were ids renumbered?" in found["reason"]


def test_held_out_rows_are_marked_and_are_in_no_training(first: Warehouse) -> None:
    built = first.sealed(releases.current_id(first))
    with closing(open_immutable(built.database)) as connection:
        marked = connection.execute(
            """select u.is_held_out, sum(r.is_held_out), count(*) from users u join ratings r using (user_id) group by u.user_id"""
        ).fetchall()
        n_train = dict(map(tuple, connection.execute("select item_id, sum(1 - is_held_out) from ratings group by item_id")))
    assert all(n == (rows // 5 if is_held else 0) for is_held, n, rows in map(tuple, marked))
    arrays, ids = model_files.load(built.model("popular"))[0], model_files.load(built.model("items"))[0]["item_ids"].tolist()
    assert dict(zip(ids, arrays["n_ratings"].tolist())) == n_train


def test_a_release_judged_against_another_than_the_current_one_is_not_promoted(champion: Warehouse) -> None:
    before = releases.current_id(champion)
    given = settings(champion)
    for name in ("ingest", "train", "evaluate", "recommend", "seal"):
        run_step(name, champion, SECOND, given)
    (champion.folder / "current").unlink()
    figures = run_step("promote", champion, SECOND, given)
    assert figures["is_promoted"] is False and f"was judged against {before}" in figures["message"]
    with pytest.raises(HeldBack, match="Build it again"):
        promotion.promote(champion, SECOND, reason="", by="verdict")
    assert promotion.promote(champion, SECOND, reason="") is None and releases.current_id(champion) == SECOND


def test_a_release_as_of_an_earlier_time_than_the_current_one_is_not_promoted(champion: Warehouse) -> None:
    """A backfill of a past week, built after the newer one was promoted: by hand it may be, by its verdict not."""
    now = releases.current(champion)[1].as_of
    earlier = (datetime.fromisoformat(now) - timedelta(days=7)).isoformat()
    given = settings(champion, as_of=earlier)
    for name in ("ingest", "train", "evaluate", "recommend", "seal"):
        run_step(name, champion, SECOND, given)
    figures = run_step("promote", champion, SECOND, given)
    assert (figures["verdict"], figures["is_promoted"]) == ("promote", False)
    assert "is newer" in figures["message"] and releases.current_id(champion) != SECOND
    assert promotion.promote(champion, SECOND, reason="back to last week") is not None and releases.current_id(champion) == SECOND
