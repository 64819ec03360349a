"""Why a user's list changed, on releases where it is known what was changed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from jobs.cli import main
from jobs.commands.list_changes import user_changes
from schemas.errors import NotFound
from tests.conftest import Built
from tests.warehouse.conftest import add_release
from warehouse import model_files
from warehouse.sqlite import open_immutable

SECOND = "20990101T000000Z"


def user_and_list(built: Built) -> tuple[int, list[int]]:
    """A user who is ranked, and the first ten."""
    with closing(open_immutable(built.release.database)) as connection:
        user = connection.execute(
            "select user_id from recommendations where rank = 10 and source = ? limit 1", [built.manifest.served_model]
        ).fetchone()[0]
        rows = connection.execute("select item_id from recommendations where user_id = ? and rank <= 10 order by rank", [user])
        return user, [row[0] for row in rows]


@pytest.fixture
def pair(copy_warehouse, movie_release: Built) -> tuple[Built, Built]:
    """A release and its copy, whose files may be changed."""
    first = copy_warehouse(movie_release)
    second = Built(first.warehouse, add_release(first, SECOND))
    for path in second.release.folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return first, second


def changed(pair: tuple[Built, Built], user: int) -> list[dict]:
    return user_changes(pair[0].warehouse, pair[0].release_id, SECOND, str(user))


def in_second(pair: tuple[Built, Built], statement: str, *values) -> None:
    with closing(sqlite3.connect(pair[1].release.database)) as connection, connection:
        connection.execute(statement, values)


def test_a_copy_changes_nothing(pair) -> None:
    assert changed(pair, user_and_list(pair[0])[0]) == []


def test_an_item_that_was_rated_meanwhile_is_the_cause_of_its_going(pair) -> None:
    user, top = user_and_list(pair[0])
    in_second(pair, "insert into ratings values (?, ?, 3.0, 1.0, 1, 0, 1)", user, top[2])
    found = changed(pair, user)
    went = [row for row in found if row["item_id"] == top[2]]
    assert [(row["rank_before"], row["rank_now"], row["cause"]) for row in went] == [(3, None, "already rated")]
    assert {row["cause"] for row in found} <= {"already rated", "history"} and any(row["rank_now"] for row in found)


def test_with_the_same_side_every_other_change_is_the_history_and_with_the_same_history_it_is_the_side(pair) -> None:
    user, _ = user_and_list(pair[0])
    in_second(
        pair,
        "delete from ratings where user_id = ? and item_id in (select item_id from ratings where user_id = ? order by rated_at desc limit 5)",
        user,
        user,
    )
    found = changed(pair, user)
    assert found and {row["cause"] for row in found} <= {"history", "already rated"}


def test_another_item_side_is_the_cause_where_the_history_is_the_same(pair) -> None:
    user, top = user_and_list(pair[0])
    folder = pair[1].release.model(pair[1].manifest.served_model)
    arrays, parameters = model_files.load(folder)
    name = "data" if "data" in arrays else "item_factors"
    model_files.save(folder, {name: np.array(array) for name, array in arrays.items()} | {name: np.array(arrays[name])[::-1]}, parameters)
    found = changed(pair, user)
    assert found and {row["cause"] for row in found} == {"item side"}
    assert [row["rank_before"] for row in found if row["rank_before"]] == [
        rank for rank, item in enumerate(top, 1) if item in {row["item_id"] for row in found}
    ]


def test_an_item_that_was_blocked_meanwhile_is_filtered(pair) -> None:
    """Blocked in the second release's item side and table, as its build would have it."""
    user, top = user_and_list(pair[0])
    in_second(pair, "update items set is_blocked = 1 where item_id = ?", top[1])
    folder = pair[1].release.model("items")
    arrays, parameters = model_files.load(folder)
    number = np.flatnonzero(arrays["item_ids"] == top[1]).astype(np.int32)
    model_files.save(folder, {name: np.array(array) for name, array in arrays.items()} | {"blocked": number}, parameters)
    found = {row["item_id"]: row for row in changed(pair, user)}
    assert (found[top[1]]["rank_before"], found[top[1]]["cause"]) == (2, "filter")
    assert all(row["cause"] == "item side" for item, row in found.items() if item != top[1])


def test_somebody_whom_neither_release_knows_is_not_found(pair) -> None:
    with pytest.raises(NotFound, match="user '-1'"):
        changed(pair, -1)


def test_the_command_says_what_came_and_went(pair, capsys: pytest.CaptureFixture[str]) -> None:
    user, top = user_and_list(pair[0])
    in_second(pair, "insert into ratings values (?, ?, 3.0, 1.0, 1, 0, 1)", user, top[0])
    words = ["releases", "compare", pair[0].release_id, SECOND, "--user", str(user), "--warehouse", str(pair[0].warehouse.folder)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"went  rank  1  {top[0]}  " in shown and ": already rated" in shown and " to " in shown
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changes"][0]["item_id"] == top[0] and found["user_id"] == str(user)
