"""The playground: a list for a history that stands in the address alone."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import pytest

from serving.lookups.playground import stars
from serving.pages import playing
from tests.serving.conftest import is_close, Server

HTML = {"accept": "text/html"}


def test_its_list_is_that_of_a_session_with_the_same_history(movies: Server) -> None:
    rated = [(row["item_id"], rating) for row, rating in zip(movies.rows("/popular?n=5"), (5, 3.5, 1, 4, 2))]
    played = movies.get("/playground?n=20&rated=" + ",".join(f"{item}:{rating}" for item, rating in rated)).json()
    body = {"ratings": [{"item_id": item, "rating": rating} for item, rating in rated]}
    session = movies.client.post("/recommend/session?n=20", json=body).json()
    assert is_close(played["rows"], session["rows"]) and played["rows"]
    for name in ("source", "personalized", "unusable", "n_history", "min_history", "note"):
        assert played[name] == session[name], name
    assert [(row["item_id"], row["rating"]) for row in played["rated"]] == rated


def test_it_begins_with_what_a_user_has_and_stores_nothing(movies: Server) -> None:
    before = movies.get("/recommend/5").json()
    assert is_close(movies.get("/playground?user_id=5").json()["rows"], before["rows"])
    first = before["rows"][0]["item_id"]
    more = movies.get(f"/playground?user_id=5&rated={first}:1").json()
    assert first not in {row["item_id"] for row in more["rows"]} and more["rows"] != before["rows"]
    assert movies.get("/recommend/5").json()["rows"] == before["rows"]
    assert movies.get("/playground?user_id=987654321").json()["personalized"] is False


def test_what_is_offered_has_the_words_and_is_not_rated_yet(movies: Server) -> None:
    popular = movies.rows("/popular?n=3")
    offered = movies.get(f"/playground?rated={popular[0]['item_id']}:4").json()["choices"]
    assert popular[0]["item_id"] not in {row["item_id"] for row in offered} and popular[1]["item_id"] == offered[0]["item_id"]
    word = re.findall(r"\w{4,}", popular[1]["title"])[0]
    found = movies.get(f"/playground?q={quote(word)}").json()["choices"]
    assert found and all(word.casefold() in row["title"].casefold() for row in found)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("rated=x:4", "rated"),
        ("rated=1:9", "expected a number from"),
        ("rated=1:nan", "expected a number from"),
        ("rated=" + ",".join(f"{k}:3" for k in range(1, 103)), "at most 100"),
        ("user_id=x", "user_id"),
        ("n=51", "from 1 to 50"),
        ("q=!", "q: expected at least one word"),
    ],
)
def test_what_cannot_be_is_refused_in_words(movies: Server, query: str, says: str) -> None:
    refused = movies.get(f"/playground?{query}")
    assert refused.status_code == 400 and says in refused.json()["error"]


def test_each_link_of_the_page_changes_one_rating(movies: Server) -> None:
    first, second, third = (row["item_id"] for row in movies.rows("/popular?n=3"))
    page = movies.get(f"/playground?rated={first}:5,{second}:3", headers=HTML).text
    links = [html.unescape(link) for link in re.findall(r'href="(/playground\?[^"]+)"', page)]
    assert f"/playground?rated={first}:5,{second}:3,{third}:4" in links, "one more"
    assert f"/playground?rated={second}:3,{first}:2" in links, "another rating, which is the newest then"
    assert f"/playground?rated={first}:5" in links, "one less"
    for link in links[:3]:
        assert movies.get(link).status_code == 200
    assert "more, and the list is your own" in movies.get("/playground", headers=HTML).text


def test_ids_of_any_text_and_purchases_without_ratings(purchases: Server) -> None:
    items = [row["item_id"] for row in purchases.rows("/popular?n=4")]
    page = purchases.get("/playground", headers=HTML).text
    link = html.unescape(re.findall(r'href="(/playground\?[^"]+)"[^>]*>Add<', page)[0])
    assert [row["item_id"] for row in purchases.get(link).json()["rated"]] == items[:1]
    assert "Choose a few items</a>" in purchases.get("/", headers=HTML).text
    odd = [{"item_id": name, "title": None, "rating": None} for name in ("a,b", "back\\slash", "x:4", "ü & <b>")]
    answer = {"rated": odd, "genres": [], "user_id": None, "q": ""}
    assert playing(answer | {"genres": ["a,b"]}, genre="c").endswith("&genres=a%5C,b,c")
    asked = purchases.get(playing(answer)).json()
    assert [row["item_id"] for row in asked["rated"]] == [row["item_id"] for row in odd] == asked["unusable"]
    assert "ü &amp; &lt;b&gt;" in purchases.get(playing(answer), headers=HTML).text


def test_the_stars_to_choose_from_are_those_of_the_scale() -> None:
    assert stars(None) == []
    assert stars((0.5, 5)) == [1, 2, 3, 4, 5]
    assert stars((0, 100)) == [0, 25, 50, 75, 100]
    assert stars((0, 1)) == [0, 1]
    assert stars((0.1, 0.9)) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
