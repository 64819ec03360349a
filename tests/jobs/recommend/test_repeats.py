"""Releases whose lists have what their users had before: the batch, the server and Python say the same, and the sum is the score."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import cinematch
from jobs.cli import main
from schemas.setting_groups import ALLOW, ONLY
from serving.opened import OpenRelease
from serving.solve import solve, solve_pairs, stored_history
from tests.conftest import build, Built
from tests.serving.conftest import serving
from warehouse.overlay import apply_log, Entry, Held
from warehouse.sqlite import open_immutable

DAY, N_USERS, N_ITEMS, N_BASKETS = 86_400, 40, 60, 12


def write_baskets(path: Path, *, has_times: bool = True) -> Path:
    """Write twelve baskets of each customer: five staples of their own, each in two baskets of three, and three things at random."""
    draw = random.Random(3)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "rated_at" if has_times else "day"])
        for user in range(N_USERS):
            staples = draw.sample(range(N_ITEMS), 5)
            for basket in range(N_BASKETS):
                at = 1_700_000_000 + basket * 7 * DAY + user
                bought = {item for item in staples if draw.random() < 2 / 3} | set(draw.sample(range(N_ITEMS), 3))
                rows.writerows([user, item, at] for item in sorted(bought))
    return path


@pytest.fixture(scope="module", params=[ALLOW, ONLY])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp(request.param)
    return build(
        folder / "w",
        source="table",
        path=str(write_baskets(folder / "baskets.csv")),
        repeats=request.param,
        models="popular,ials,item_neighbours,hybrid",
        serve="hybrid",
        holdout_users=0.5,
        n=10,
    )


@pytest.fixture
def database(built: Built) -> Iterator[sqlite3.Connection]:
    with closing(open_immutable(built.release.database)) as connection:
        yield connection


@pytest.fixture
def opened(built: Built) -> Iterator[OpenRelease]:
    release = OpenRelease(built.release)
    yield release
    release.retire()


def test_events_of_a_pair_are_counted(built: Built, database: sqlite3.Connection) -> None:
    path = built.warehouse.folder.parent / "baskets.csv"
    counted: dict[tuple[int, int], int] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pair = int(row["user_id"]), int(row["item_id"])
            counted[pair] = counted.get(pair, 0) + 1
    assert {row[:2]: row[2] for row in database.execute("select user_id, item_id, n_events from ratings")} == counted


def test_what_is_held_out_may_be_in_training_too_by_events(built: Built, database: sqlite3.Connection) -> None:
    measured = built.manifest.metrics
    assert any(row["protocol"] == "held_out_last" and row["model"] == "hybrid" and row["value"] > 0 for row in measured)
    seen = [row["value"] for row in measured if row["metric"] == "items_already_seen"]
    assert seen and seen[0] > 0
    held_again = database.execute("select count(*) from ratings where is_held_out and n_events > 1").fetchone()[0]
    assert held_again > 0


def test_staples_come_again(built: Built, database: sqlite3.Connection) -> None:
    """Of the five that a customer bought most often, most are among the first ten; with ONLY nothing else is there."""
    often = "select item_id from ratings where user_id = ? order by n_events desc, item_id limit 5"
    found = 0
    for user in range(N_USERS):
        listed = {row[0] for row in database.execute("select item_id from recommendations where user_id = ?", [user])}
        found += len(listed & {row[0] for row in database.execute(often, [user])})
        has = {row[0] for row in database.execute("select item_id from ratings where user_id = ?", [user])}
        assert listed and (listed <= has or built.manifest.settings["repeats"] == ALLOW)
    assert found > 0.6 * 5 * N_USERS


def test_the_blend_has_the_users_own_frequency(built: Built) -> None:
    parameters = json.loads(next(row["parameters"] for row in built.manifest.models if row["model"] == "hybrid"))
    assert parameters["shares"]["repeats"] > 0


def test_online_lists_are_those_of_the_batch_and_reasons_sum_to_the_score(
    built: Built, database: sqlite3.Connection, opened: OpenRelease
) -> None:
    assert built.manifest.parity["n_same_lists"] == built.manifest.parity["n_users"] > 0
    for user in range(0, N_USERS, 7):
        stored = database.execute("select item_id, score from recommendations where user_id = ? order by rank", [user]).fetchall()
        history = stored_history(opened, user)
        solved = solve(opened, history, n=10)
        assert [row.item_id for row in solved.rows] == [row[0] for row in stored]
        np.testing.assert_allclose([row.score for row in solved.rows], [row[1] for row in stored], rtol=1e-9)
        pairs = solve_pairs(opened, history, [row[0] for row in stored])
        for row in pairs.rows:
            shares = [reason.contribution for reason in pairs.reasons[row.item_id] if reason.contribution is not None]
            assert sum(shares) == pytest.approx(row.score, rel=1e-5)


def test_the_first_reason_of_a_staple_is_how_often_it_was_bought(database: sqlite3.Connection) -> None:
    own = database.execute(
        """select e.detail, h.n_events from explanations e join ratings h on h.user_id = e.user_id and h.item_id = e.item_id
        where e.kind = 'history' and e.evidence_id = cast(e.item_id as text)"""
    ).fetchall()
    assert len(own) > N_USERS
    assert all(json.loads(detail) == {"n": n_events} for detail, n_events in own)


def test_another_purchase_raises_the_score(opened: OpenRelease) -> None:
    history = stored_history(opened, 3)
    item = solve(opened, history, n=10).rows[-1].item_id
    later = max(held.rated_at for held in history.values())
    more = apply_log(history, [Entry(1, 3, item, None, 1.0, later, later)], is_implicit=True)
    assert more[item].n_events == history[item].n_events + (history[item].rated_at != later) if item in history else True
    before, after = (solve_pairs(opened, rows, [item]).rows[0].score for rows in (history, more))
    assert after > before


def test_a_server_answers_by_what_may_come_again(built: Built, database: sqlite3.Connection) -> None:
    is_only = built.manifest.settings["repeats"] == ONLY
    with serving(built.warehouse.folder) as server:
        for user in range(0, N_USERS, 13):
            stored = [row[0] for row in database.execute("select item_id from recommendations where user_id = ? order by rank", [user])]
            times = dict(database.execute("select item_id, n_events from ratings where user_id = ?", [user]).fetchall())
            assert [row["item_id"] for row in server.rows(f"/recommend/{user}")] == stored
            ranked = server.client.post("/rank", json={"user_id": user, "items": list(range(N_ITEMS))}).json()
            assert [row["item_id"] for row in ranked["rows"]][: len(stored)] == stored
            assert set(ranked["excluded"]) == ({*range(N_ITEMS)} - {*times} if is_only else set())
            explored = server.rows(f"/explore?user_id={user}&n=10")
            assert [item["item_id"] for item in explored[0]["items"]] == stored
            for item in stored:
                own = [row for row in server.rows(f"/why/{user}/{item}") if row["kind"] == "history" and row["item_id"] == item]
                assert [row["n"] for row in own] == ([times[item]] if own else []) and (item in times or not own)
            page = server.get(f"/recommend/{user}", headers={"accept": "text/html"}).text
            assert f"had {times[stored[0]]} times before" in page or times[stored[0]] == 1
        session = server.client.post("/recommend/session", json={"ratings": [{"item_id": 7}, {"item_id": 9}]}).json()
        assert {row["item_id"] for row in session["rows"]} <= {7, 9} if is_only else 7 in [row["item_id"] for row in session["rows"]]


def test_python_gives_the_list_of_the_server(built: Built, opened: OpenRelease) -> None:
    bought = [7, 9, 11, 7, 12, 7]
    rows: dict[int, Held] = {}
    for place, item in enumerate(bought):
        rows[item] = Held(None, rows[item].weight + 1.0 if item in rows else 1.0, place, 0, rows[item].n_events + 1 if item in rows else 1)
    solved = solve(opened, rows, n=10)
    with cinematch.open(built.warehouse.folder) as release:
        listed = release.recommend(bought, n=10)
    assert listed["item_id"].to_pylist() == [row.item_id for row in solved.rows]
    assert 7 in listed["item_id"].to_pylist()[:3]


def test_a_source_without_times_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_baskets(tmp_path / "baskets.csv", has_times=False)
    given = ["--source", "table", "--path", str(path), "--columns", "user_id=user_id,item_id=item_id"]
    assert main(["ingest", *given, "--warehouse", str(tmp_path / "w"), "--repeats", "allow", "--release", "20260101T000000Z"]) != 0
    assert "repeats: allow needs the time of each interaction" in capsys.readouterr().err
