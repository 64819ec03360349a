"""POST /rank: an application's candidates in the order of the list."""

from __future__ import annotations

import json

import pytest

from tests.serving.conftest import is_close, Server


def ranked(server: Server, body: object, query: str = "") -> dict:
    answer = server.client.post(f"/rank{query}", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_candidates_stand_in_the_order_of_the_list_with_its_scores_and_reasons(movies: Server) -> None:
    listed = movies.rows("/recommend/7?n=40")
    candidates = [row["item_id"] for row in listed[::3]]
    found = ranked(movies, {"items": candidates[::-1], "user_id": 7})
    assert [row["item_id"] for row in found["rows"]] == candidates
    assert [row["rank"] for row in found["rows"]] == list(range(1, len(candidates) + 1))
    by_item = {row["item_id"]: row for row in listed}
    for row in found["rows"]:
        assert is_close(
            {**row, "rank": 0, "reasons": 0, "residual": 0}, {**by_item[row["item_id"]], "rank": 0, "reasons": 0, "residual": 0}
        )
        shares = sum(reason["contribution"] or 0 for reason in row["reasons"]) + (row["residual"] or 0)
        assert shares == pytest.approx(row["score"], rel=1e-6)
    assert (found["user_id"], found["is_known"], found["source"]) == (7, True, by_item[candidates[0]]["source"])


def test_what_the_user_has_and_what_is_not_known_is_left_out_and_said(movies: Server) -> None:
    has, first = movies.rows("/ratings/7?n=1")[0]["item_id"], movies.rows("/recommend/7?n=1")[0]["item_id"]
    found = ranked(movies, {"items": [has, 987654321, first, first], "user_id": 7})
    assert ([row["item_id"] for row in found["rows"]], found["excluded"], found["unusable"]) == ([first], [has], [987654321])
    assert ranked(movies, {"items": [has], "user_id": 7})["rows"] == []


def test_a_visitor_gets_what_a_session_would_order(movies: Server, purchases: Server) -> None:
    for server, rating in ((movies, {"rating": 4.5}), (purchases, {})):
        ratings = [{"item_id": row["item_id"], **rating} for row in server.rows("/popular?n=6")]
        session = server.client.post("/recommend/session?n=30", json={"ratings": ratings}).json()
        candidates = [row["item_id"] for row in session["rows"]]
        found = ranked(server, {"items": sorted(candidates, key=str), "ratings": ratings})
        assert [row["item_id"] for row in found["rows"]] == candidates
        assert (found["n_history"], found["note"], found["user_id"]) == (session["n_history"], session["note"], None)


def test_many_candidates_are_ranked_beside_the_server_as_few_are(movies: Server) -> None:
    items = [row["item_id"] for row in movies.rows("/popular?n=1000")]
    body = {"items": items, "user_id": 9}
    few, many = ranked(movies, body), movies.client.post("/rank", content=json.dumps(body) + " " * 10_000).json()
    assert is_close(few["rows"], many["rows"]) and len(few["rows"]) + len(few["excluded"]) == len(items)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"items": [1]}, "the body: expected {items"),
        ({"items": [1], "user_id": 1, "ratings": []}, "the body: expected {items"),
        ({"user_id": 1}, "the body: expected {items"),
        ({"items": [], "user_id": 1}, "items: expected a list of 1 to"),
        ({"items": 5, "user_id": 1}, "items: expected a list of 1 to"),
        ({"items": [1, "x"], "user_id": 1}, "items, place 1: expected a whole number"),
        ({"items": [1], "user_id": "x"}, "user_id: expected a whole number"),
        ({"items": [1], "user_id": None}, "user_id: expected a whole number"),
        ({"items": [1], "ratings": [{"item_id": 1, "rating": 99}]}, "row 0: rating"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_in_words(movies: Server, body: object, says: str) -> None:
    refused = movies.client.post("/rank", content=json.dumps(body))
    assert refused.status_code == 400 and refused.json()["error"].startswith(says)


def test_nobody_knows_a_stranger_unless_that_is_an_error(movies: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    found = ranked(movies, {"items": [item], "user_id": 987654321})
    assert (found["is_known"], found["personalized"], found["rows"][0]["source"]) == (False, False, "popular")
    assert movies.client.post("/rank?strict=1", content=json.dumps({"items": [item], "user_id": 987654321})).status_code == 404
