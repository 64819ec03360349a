"""The explorer: one user's list by every model, side by side."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from urllib.parse import quote

import pytest

from tests.serving.conftest import Server, serving

HTML = {"accept": "text/html"}


def explored(server: Server, user: Any, n: int = 10) -> dict[str, Any]:
    return server.get("/explore", params={"user_id": user, "n": n}).json()


@pytest.mark.parametrize("kind", ["movies", "purchases"])
def test_the_served_models_list_is_the_users_own_and_all_the_others_are_of_the_same_history(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    user = max(server.get("/").json()["users"], key=lambda one: one["n_ratings"])["user_id"]
    path = quote(str(user), safe="")
    answer, listed = explored(server, user), server.get(f"/recommend/{path}").json()
    rows = {row["model"]: row for row in answer["rows"]}
    served = answer["rows"][0]
    assert served["is_served"] and served["model"] == server.get("/").json()["served_model"] and len(rows) >= 4
    assert [row["item_id"] for row in served["items"]] == [row["item_id"] for row in listed["rows"]]
    assert [row["score"] for row in served["items"]] == pytest.approx([row["score"] for row in listed["rows"]], rel=1e-9)
    has = {row["item_id"] for row in server.rows(f"/ratings/{path}?n=1000")}
    assert answer["n_history"] == len(has) and answer["is_known"] and len(answer["history"]) == min(10, len(has))
    for row in rows.values():
        assert len(row["items"]) == 10 and not has & {item["item_id"] for item in row["items"]}
        assert [item["rank"] for item in row["items"]] == list(range(1, 11))


def test_what_lists_share_is_counted(movies: Server) -> None:
    answer = explored(movies, 5, n=20)
    lists = {row["model"]: {item["item_id"] for item in row["items"]} for row in answer["rows"]}
    shared = {(pair["a"], pair["b"]): pair["n_common"] for pair in answer["overlap"]}
    assert shared == {(a, b): len(lists[a] & lists[b]) for a, b in combinations(lists, 2)}
    for row in answer["rows"]:
        assert [item["n_lists"] for item in row["items"]] == [
            sum(item["item_id"] in one for one in lists.values()) for item in row["items"]
        ]
    assert max(shared.values()) > 0 and min(shared.values()) < 20


def test_a_new_rating_counts_in_every_list(own_movies: Any) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        before = {row["model"]: row["items"][0]["item_id"] for row in explored(server, 5)["rows"]}
        for item in set(before.values()):
            body = {"user_id": 5, "item_id": item, "rating": 5}
            assert server.client.post("/ratings", json=body, headers={"authorization": f"Bearer {key}"}).json()["ok"]
        after = explored(server, 5)
        for row in after["rows"]:
            assert before[row["model"]] not in {item["item_id"] for item in row["items"]}


def test_without_a_user_it_names_some_and_to_one_that_is_unknown_it_gives_what_is_popular(movies: Server) -> None:
    empty = movies.get("/explore").json()
    assert empty["rows"] == [] and empty["user_id"] is None and len(empty["users"]) == 12
    unknown = explored(movies, 987654321)
    assert unknown["is_known"] is False and all(item["is_popular"] for row in unknown["rows"] for item in row["items"])
    assert len({tuple(item["item_id"] for item in row["items"]) for row in unknown["rows"]}) == 1
    assert movies.get("/explore?user_id=x").status_code == 400 and movies.get("/explore?user_id=5&n=51").status_code == 400


def test_the_page_shows_a_column_for_each_model_and_keeps_its_view_in_the_address(movies: Server) -> None:
    page = movies.get("/explore?user_id=5&n=5", headers=HTML).text
    for row in explored(movies, 5, n=5)["rows"]:
        assert f'<section aria-label="{row["model"]}">' in page
    assert page.count("<b>served</b>") == 1 and 'value="5"' in page and "/explore?user_id=2&amp;n=5" in page
    assert "Name a user above" in movies.get("/explore", headers=HTML).text
