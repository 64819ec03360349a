"""POST /recommend/session: a visitor's history is worth what a stored one is, with its times and its order."""

from __future__ import annotations

import itertools
from datetime import datetime, UTC
from typing import Any

import pytest

from tests.conftest import Built
from tests.serving.conftest import is_close, Server
from warehouse.sqlite import open_immutable

visitors = itertools.count(7_000_000)
USERS = 40


def history(built: Built, user: Any) -> list[dict]:
    """A stored user's rows as they are sent."""
    rows = open_immutable(built.release.database).execute(
        "select item_id, rating, weight, rated_at from ratings where user_id = ? order by item_id desc", [user]
    )
    return [
        {"item_id": item, "rated_at": at} | ({"weight": weight} if rating is None else {"rating": rating})
        for item, rating, weight, at in rows
    ]


def users_of(built: Built) -> list:
    return [row[0] for row in open_immutable(built.release.database).execute("select user_id from users order by user_id limit ?", [USERS])]


def listed(server: Server, rows: list[dict], n: int = 10) -> dict:
    answer = server.client.post(f"/recommend/session?n={n}", json={"ratings": rows})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(server: Server, rows: list[dict]) -> str:
    answer = server.client.post("/recommend/session", json={"ratings": rows})
    assert answer.status_code == 400 and "written" not in answer.json()["error"], answer.text
    return answer.json()["error"]


@pytest.mark.parametrize("server", ["movies", "purchases"])
def test_a_stored_history_gets_the_stored_list(server: str, request: pytest.FixtureRequest) -> None:
    """Items, order, scores and reasons, of users that no other test writes for; times as Unix seconds and as text."""
    built: Built = request.getfixturevalue({"movies": "movie_release", "purchases": "purchase_release"}[server])
    server = request.getfixturevalue(server)
    n, short = built.manifest.settings["explain_n"], 0
    for user in users_of(built):
        rows = history(built, user)
        as_text = [row | {"rated_at": datetime.fromtimestamp(row["rated_at"], UTC).isoformat()} for row in rows]
        found = listed(server, rows, n)
        assert is_close(listed(server, as_text, n)["rows"], found["rows"])
        stored = stored_rows(built, user, n)
        assert [row["item_id"] for row in found["rows"]] == [row["item_id"] for row in stored], user
        assert [row["score"] for row in found["rows"]] == pytest.approx([row["score"] for row in stored], rel=1e-9)
        assert [[(reason["kind"], reason["item_id"]) for reason in row["reasons"]] for row in found["rows"]] == [
            row["reasons"] for row in stored
        ]
        assert found["n_history"] == len(rows) and found["unusable"] == []
        is_short = len(rows) < built.manifest.settings["min_history"]
        short += is_short
        assert found["personalized"] is not is_short and (found["note"] is not None) is is_short
    assert short or server.key and built.manifest.rating_scale


def stored_rows(built: Built, user: Any, n: int) -> list[dict]:
    connection = open_immutable(built.release.database)
    rows = connection.execute(
        "select item_id, score from recommendations where user_id = ? and rank <= ? order by rank", [user, n]
    ).fetchall()
    reasons: dict = {}
    for item, kind, evidence in connection.execute(
        "select item_id, kind, evidence_id from explanations where user_id = ? and kind <> 'residual' order by item_id, position", [user]
    ):
        reasons.setdefault(item, []).append((kind, built.manifest.id_types.parse("item_id", evidence) if kind == "history" else None))
    return [{"item_id": item, "score": score, "reasons": reasons.get(item, [])} for item, score in rows]


def test_a_visitor_who_becomes_a_user_keeps_the_list(movies: Server) -> None:
    user, at = next(visitors), 1_700_000_000
    rows = [
        {"item_id": row["item_id"], "rating": 4.0, "rated_at": at + place // 2} for place, row in enumerate(movies.rows("/popular?n=6"))
    ]
    movies.send("POST", "/ratings", [row | {"user_id": user} for row in rows])
    found = listed(movies, [*rows, {"item_id": 88_888_888, "rating": 3.0, "rated_at": at}], 12)
    assert found["rows"] == movies.rows(f"/recommend/{user}?n=12") and found["unusable"] == [88_888_888] and found["n_history"] == 6


def test_without_times_the_order_of_the_list_is_that_of_time(movies: Server) -> None:
    items = [row["item_id"] for row in movies.rows("/popular?n=8")]
    rows = [{"item_id": item, "rating": 5.0 - place / 2} for place, item in enumerate(items)]
    in_order = listed(movies, rows)["rows"]
    assert in_order == listed(movies, [row | {"rated_at": 1_700_000_000 + 60 * place} for place, row in enumerate(rows)])["rows"]
    assert in_order == listed(movies, [row | {"rated_at": 1_700_000_000.0 + 60 * place} for place, row in enumerate(rows)])["rows"]
    assert in_order == listed(movies, [row | {"rated_at": None} for row in rows])["rows"]
    assert in_order != listed(movies, rows[::-1])["rows"]
    assert in_order != listed(movies, [row | {"rated_at": 1_700_000_000} for row in rows])["rows"]


def test_the_later_rating_of_an_item_counts(movies: Server) -> None:
    items = [row["item_id"] for row in movies.rows("/popular?n=5")]
    rows = [{"item_id": item, "rating": 4.0, "rated_at": 1_700_000_000 + place} for place, item in enumerate(items)]
    later = {"item_id": items[0], "rating": 1.0, "rated_at": 1_800_000_000 - 10**8 + 50}
    assert listed(movies, [later, *rows])["rows"] == listed(movies, [*rows, later])["rows"] == listed(movies, [*rows[1:], later])["rows"]


def test_an_item_without_stars_is_an_event(movies: Server, movie_release: Built) -> None:
    """It counts for the list, as a row from the middle of the scale would, and not for what the visitor is predicted to rate."""
    items = [row["item_id"] for row in movies.rows("/popular?n=6")]
    low, high = movie_release.manifest.rating_scale
    events = [{"item_id": item} for item in items]
    found = listed(movies, events, 20)
    assert found["personalized"] is True and not {row["item_id"] for row in found["rows"]} & set(items)
    for row in found["rows"]:
        total = sum(reason["contribution"] or 0 for reason in row["reasons"]) + (row["residual"] or 0)
        assert total == pytest.approx(row["score"], rel=1e-5) and low <= row["predicted_rating"] <= high
    unrated = {row["item_id"]: row["predicted_rating"] for row in listed(movies, [], 1000)["rows"]}
    assert all(row["predicted_rating"] == pytest.approx(unrated[row["item_id"]]) for row in found["rows"])
    stars = [{"item_id": item, "rating": high} for item in items]
    assert {row["item_id"]: row["predicted_rating"] for row in listed(movies, stars, 20)["rows"]} != unrated
    assert listed(movies, [*stars, *events])["rows"] == listed(movies, stars)["rows"], "a click takes no stars away"
    mixed = listed(movies, [*events[:3], *stars[3:]], 5)
    assert mixed["personalized"] is True and mixed["n_history"] == 6


def test_too_short_a_history_is_said(movies: Server, movie_release: Built) -> None:
    least = movie_release.manifest.settings["min_history"]
    items = [row["item_id"] for row in movies.rows(f"/popular?n={least}")]
    for n in range(least + 1):
        found = listed(movies, [{"item_id": item, "rating": 4.0} for item in items[:n]] + [{"item_id": 77_777_777, "rating": 1.0}])
        assert (found["n_history"], found["min_history"], found["personalized"]) == (n, least, n >= least)
        assert (found["note"] is None) == (n >= least) and (n >= least or f"takes {least}" in found["note"])


def test_a_refusal_names_the_row_and_says_nothing_of_writing(movies: Server, purchases: Server) -> None:
    rows = [{"item_id": 1, "rating": 4.0, "rated_at": 1_700_000_000}, {"item_id": 2, "rating": 4.0}]
    assert "row 1: rated_at: is missing, and 1 of 2 rows have it" in refused(movies, rows)
    for bad, says in [
        ({"rated_at": "garbage"}, "rated_at"),
        ({"rated_at": -1}, "rated_at"),
        ({"rated_at": "2026-01-01T00:00:00"}, "rated_at"),
        ({"rating": 9}, "rating"),
        ({"weight": 2}, "weight"),
        ({"item_id": "x"}, "item_id"),
        ({"user_id": 1}, "user_id"),
        ({"rating": "5"}, "rating"),
    ]:
        said = refused(movies, [rows[0], rows[0] | {"item_id": 2} | bad])
        assert said.startswith("row 1: ") and says in said, said
    assert "rating" in refused(purchases, [{"item_id": "a", "rating": 5}]) and "weight" in refused(
        purchases, [{"item_id": "a", "weight": 0}]
    )
    for body in ({}, {"ratings": {}}, {"ratings": [1]}, {"ratings": [], "more": 1}, []):
        answer = movies.client.post("/recommend/session", json=body)
        assert answer.status_code == 400 and "written" not in answer.json()["error"]
    assert movies.client.post("/recommend/session", json={"ratings": [{"item_id": 1}] * 1001}).status_code == 413
