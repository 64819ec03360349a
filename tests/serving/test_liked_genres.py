"""Lists for somebody who has only said which genres they like, with a few items or without."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from tests.conftest import Built
from tests.serving.conftest import copied, every_scope, is_close, Server
from tests.serving.inside import Inside, inside


@pytest.fixture(scope="module")
def asked(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    folder = copied(movie_release, tmp_path_factory.mktemp("liked") / "movies")
    with inside(folder, every_scope(folder)) as found:
        yield found


def sent(server: Server, n: int = 10, more: str = "", **body) -> dict:
    answer = server.client.post(f"/recommend/session?n={n}{more}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def of(row: dict, genres: list[str]) -> bool:
    return bool(set(row["genres"]) & set(genres))


def test_genres_alone_give_the_popular_items_of_them(movies: Server) -> None:
    genres = [row["genre"] for row in movies.rows("/genres")[:2]]
    found = sent(movies, 12, "&fields=genres", genres=genres)
    expected = movies.rows(f"/popular?n=12&any_genre={','.join(genres)}")
    assert [row["item_id"] for row in found["rows"]] == [row["item_id"] for row in expected]
    assert {row["source"] for row in found["rows"]} == {"popular_genre"} and found["personalized"] is False
    assert found["genres"] == genres and found["source"] == "popular_genre" and found["n_history"] == 0


def test_items_beside_genres_are_ranked_by_and_the_list_says_from_where_each_row_is(movies: Server) -> None:
    """A genre that has few items: first all of them that the model ranks, then its popular ones, then the others by the model."""
    rare = min(movies.rows("/genres"), key=lambda row: row["n_items"])
    events = [{"item_id": row["item_id"]} for row in movies.rows("/popular?n=6")]
    n = rare["n_items"] + 20
    plain = sent(movies, n, "&fields=genres", ratings=events)["rows"]
    found = sent(movies, n, "&fields=genres", ratings=events, genres=[rare["genre"]])
    rows, has = found["rows"], [of(row, [rare["genre"]]) for row in found["rows"]]
    assert len(rows) == n and [row["rank"] for row in rows] == list(range(1, n + 1)) and found["personalized"] is True
    assert has == sorted(has, reverse=True) and 0 < sum(has) < n
    assert not {row["item_id"] for row in rows} & {row["item_id"] for row in events}
    others = [row["item_id"] for row in plain if not of(row, [rare["genre"]])]
    after = [row["item_id"] for row in rows if not of(row, [rare["genre"]])]
    assert after == others[: len(after)]
    alone = sent(movies, sum(has), f"&any_genre={rare['genre']}", ratings=events)["rows"]
    assert [row["item_id"] for row in rows[: sum(has)]] == [row["item_id"] for row in alone]
    assert rows[0]["source"] == found["source"] == plain[0]["source"] not in ("popular", "popular_genre")


def test_a_session_without_genres_is_as_it_was(movies: Server) -> None:
    events = [{"item_id": row["item_id"]} for row in movies.rows("/popular?n=6")]
    assert is_close(sent(movies, ratings=events)["rows"], sent(movies, ratings=events, genres=[])["rows"])


@given(
    chosen=st.lists(st.integers(0, 3), max_size=3, unique=True),
    items=st.lists(st.integers(0, 7), max_size=7, unique=True),
    n=st.integers(1, 40),
)
def test_exactly_n_come_and_those_of_the_genres_first(asked: Inside, chosen: list[int], items: list[int], n: int) -> None:
    names = [row["genre"] for row in asked.rows(b"/genres")]
    genres, popular = [names[at] for at in chosen], asked.rows(b"/popular?n=8")
    body = {"genres": genres, "ratings": [{"item_id": popular[at]["item_id"]} for at in items]}
    found = asked.send("POST", f"/recommend/session?n={n}&fields=genres".encode(), body).json()
    rows, has = found["rows"], [of(row, genres) for row in found["rows"]]
    assert len(rows) == n == len({row["item_id"] for row in rows})
    assert has == sorted(has, reverse=True)
    assert not {row["item_id"] for row in rows} & {row["item_id"] for row in body["ratings"]}
    assert all(row["source"] != "popular" for row, is_liked in zip(rows, has) if is_liked)


def test_what_cannot_be_is_refused_in_words(movies: Server) -> None:
    for body, says in [
        ({"genres": ["Nonsense"]}, "genres: release"),
        ({"genres": "Drama"}, "genres: expected a list"),
        ({"genres": [1]}, "genres: expected a list"),
        ({"genres": []}, "the body: expected"),
        ({"genres": [f"{k}" for k in range(101)]}, "at most 100"),
        ({"genres": ["Drama"], "more": 1}, "the body: expected"),
    ]:
        answer = movies.client.post("/recommend/session", json=body)
        assert answer.status_code == 400 and says in answer.json()["error"], (body, answer.text)
    assert movies.get("/playground?genres=Nonsense").status_code == 400


def test_the_playground_begins_with_genres_without_a_script(movies: Server) -> None:
    """A chip takes its genre into the address and out again; what was rated stays."""
    item = movies.rows("/popular?n=1")[0]["item_id"]
    genre = movies.rows("/genres")[0]["genre"]
    page = movies.get(f"/playground?rated={item}:4", headers={"accept": "text/html"}).text
    into = next(link for link in links(page, genre))
    assert f"genres={genre}" in into and f"rated={item}:4" in into
    played = movies.get(into, headers={"accept": "application/json"}).json()
    assert played["genres"] == [genre]
    session = sent(movies, ratings=[{"item_id": item, "rating": 4}], genres=[genre])
    assert is_close(played["rows"], session["rows"])
    page = movies.get(into, headers={"accept": "text/html"}).text
    assert 'class="on" aria-current="true"' in page and f'name="genres" value="{genre}"' in page
    assert "genres" not in next(iter(links(page, genre))) and "<script" not in page.split("<h1>")[1]


def links(page: str, genre: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(rf'href="(/playground[^"]*)">{genre}</a>', page)]
