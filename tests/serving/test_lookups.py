"""Answers of the read routes: lists, reasons, neighbours, and the envelope around them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from schemas.tables import READY_N
from serving.opened import OpenRelease
from serving.rows import Listed, row, stored_reason
from serving.stored import encoded_list, ready_list, stored_list
from tests.conftest import Built
from tests.serving.conftest import is_close, Server, serving
from warehouse.sqlite import open_immutable

ENVELOPE = {"ok", "release", "took_ms", "rows", "next", "next_url"}


def pages(server: Server, path: str) -> list[dict]:
    """Every row of a list, page by page."""
    rows, url = [], path
    for _ in range(400):
        answer = server.get(url).json()
        rows += answer["rows"]
        url = answer["next_url"]
        if url is None:
            return rows
    raise AssertionError(f"{path} has no last page")


def test_a_list_is_the_stored_one_in_the_envelope(movies: Server, movie_release: Built) -> None:
    answer = movies.get("/recommend/5?n=7").json()
    assert set(answer) >= ENVELOPE and answer["ok"] is True and answer["release"] == movie_release.release_id
    assert answer["source"] == movie_release.manifest.served_model and answer["personalized"] is True and answer["stale"] is False
    assert answer["computed_at"] == movie_release.manifest.created_at
    stored = (
        open_immutable(movie_release.release.database)
        .execute(
            "select rank, item_id, score, predicted_rating, confidence, source from recommendations where user_id = 5 and rank <= 7 order by rank"
        )
        .fetchall()
    )
    names = ("rank", "item_id", "score", "predicted_rating", "confidence", "source")
    assert is_close([tuple(found[name] for name in names) for found in answer["rows"]], [tuple(found) for found in stored])
    assert set(answer["rows"][0]) == {*names, "title", "reasons", "residual"}
    assert {"kind", "item_id", "title", "contribution"} <= set(answer["rows"][0]["reasons"][0])


@pytest.mark.parametrize("name", ["movie_release", "purchase_release"])
def test_the_short_way_writes_what_the_long_way_does(name: str, request: pytest.FixtureRequest) -> None:
    opened = OpenRelease(request.getfixturevalue(name).release)
    n = opened.manifest.settings["explain_n"]
    for (user,) in opened.connection.execute("select user_id from users").fetchall():
        entries, found = stored_list(opened, user, 0, n)
        reasons: dict = {}
        for reason in found:
            reasons.setdefault(reason[0], []).append(stored_reason(opened, *reason))
        long = [row(opened, Listed(*entry), reasons[entry[1]]) for entry in entries]
        assert json.loads(encoded_list(opened, entries, found)) == long
        for n_head in (1, 3, READY_N):
            head = ready_list(opened, user, n_head)
            assert json.loads(head.text) == long[:n_head] and head.n_rows == len(long[:n_head]) and head.source == long[0]["source"]
    opened.retire()


def test_contributions_and_residual_sum_to_every_score(movies: Server) -> None:
    for user in (1, 2, 3):
        for found in movies.rows(f"/recommend/{user}?n=20"):
            total = sum(reason["contribution"] or 0 for reason in found["reasons"]) + (found["residual"] or 0)
            assert total == pytest.approx(found["score"], rel=1e-5)
            why = movies.get(f"/why/{user}/{found['item_id']}").json()
            assert sum(part["contribution"] or 0 for part in why["rows"]) == pytest.approx(found["score"], rel=1e-5)


def test_why_of_a_pair_that_is_not_stored_is_by_the_same_kernel(movies: Server) -> None:
    deep = movies.rows("/recommend/3?n=60")[-1]
    why = movies.get(f"/why/3/{deep['item_id']}").json()
    assert why["score"] == pytest.approx(deep["score"], rel=1e-9) and why["rank"] is None
    assert sum(part["contribution"] or 0 for part in why["rows"]) == pytest.approx(why["score"], rel=1e-5)
    every = movies.get(f"/why/3/{deep['item_id']}?n=1000").json()
    assert every["residual"] in (0, None) and len(every["rows"]) > len(why["rows"])
    assert sum(part["contribution"] or 0 for part in every["rows"]) == pytest.approx(why["score"], rel=1e-5)


@pytest.mark.parametrize(("server", "user"), [("movies", "1"), ("purchases", "Zürich #0")])
def test_why_of_what_the_user_has_says_how_they_rated_it_and_not_how_often_they_had_it(
    server: str, user: str, request: pytest.FixtureRequest
) -> None:
    asked: Server = request.getfixturevalue(server)
    had = asked.rows(f"/ratings/{quote(user, safe='')}")
    assert had
    for held in had:
        found = asked.rows(f"/why/{quote(user, safe='')}/{quote(str(held['item_id']), safe='')}?n=1000")
        own = [reason for reason in found if reason["kind"] == "history" and reason["item_id"] == held["item_id"]]
        assert all("n" not in reason and reason.get("rating") == held["rating"] for reason in own)


def test_why_stored_and_why_computed_agree(movies: Server) -> None:
    first = movies.rows("/recommend/4?n=1")[0]
    stored = movies.get(f"/why/4/{first['item_id']}").json()
    computed = movies.get(f"/why/4/{first['item_id']}?n=4").json()
    assert stored["score"] == pytest.approx(computed["score"], rel=1e-9)
    assert [part["item_id"] for part in stored["rows"][:3]] == [part["item_id"] for part in computed["rows"][:3]]


@pytest.mark.parametrize(
    "path", ["/recommend/6?n=7", "/recommend/6?n=7&genre=Drama", "/recommend/987654?n=9", "/popular?n=9", "/similar/{item}?n=4"]
)
def test_pages_neither_repeat_nor_skip(path: str, movies: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    path = path.format(item=item)
    rows = pages(movies, path)
    ids = [found["item_id"] for found in rows]
    assert len(ids) == len(set(ids)) and [found["rank"] for found in rows] == list(range(1, len(ids) + 1))
    if path.startswith("/recommend"):
        whole = movies.rows(re.sub(r"n=\d+", "n=1000", path))
        assert ids == [found["item_id"] for found in whole][: len(ids)]


def test_a_whole_list_leaves_out_only_what_the_user_has(movies: Server, movie_release: Built) -> None:
    ids = {found["item_id"] for found in movies.rows("/recommend/8?n=1000")}
    connection = open_immutable(movie_release.release.database)
    has = {found[0] for found in connection.execute("select item_id from ratings where user_id = 8")}
    every = {found[0] for found in connection.execute("select item_id from items")}
    assert not ids & has and ids == every - has


def test_genre_and_exclude(movies: Server, movie_release: Built) -> None:
    connection = open_immutable(movie_release.release.database)
    dramas = {found[0] for found in connection.execute("select item_id from item_genres where genre = 'Drama'")}
    whole = movies.rows("/recommend/9?n=1000")
    expected = [
        found["item_id"] for found in whole if found["item_id"] in dramas and found["source"] == movie_release.manifest.served_model
    ][:10]
    assert [found["item_id"] for found in movies.rows("/recommend/9?genre=Drama&n=10")] == expected
    first = [found["item_id"] for found in movies.rows("/recommend/9?n=5")]
    left = movies.rows(f"/recommend/9?n=3&exclude={first[0]},{first[2]}")
    assert [found["item_id"] for found in left] == [first[1], first[3], first[4]]


@pytest.mark.parametrize(
    ("query", "is_in"),
    [
        ("any_genre=Drama,Comedy", lambda genres, year: bool(genres & {"Drama", "Comedy"})),
        ("any_genre=Drama&any_genre=Comedy", lambda genres, year: bool(genres & {"Drama", "Comedy"})),
        ("all_genres=Drama,Comedy", lambda genres, year: genres >= {"Drama", "Comedy"}),
        ("no_genre=Drama,Comedy", lambda genres, year: not genres & {"Drama", "Comedy"}),
        ("year_from=1990&year_to=1999", lambda genres, year: year is not None and 1990 <= year <= 1999),
        ("year_to=1980", lambda genres, year: year is not None and year <= 1980),
        (
            "genre=Drama&no_genre=Comedy&year_from=2000",
            lambda genres, year: "Drama" in genres and "Comedy" not in genres and (year or 0) >= 2000,
        ),
    ],
)
def test_filters_leave_what_fits_in_the_order_of_the_list(query: str, is_in: Any, movies: Server, movie_release: Built) -> None:
    """On every tier, page after page, and for what is popular: of the whole list exactly those that fit."""
    connection = open_immutable(movie_release.release.database)
    fits = {
        item for item, genres, year in connection.execute("select item_id, genres, year from items") if is_in(set(genres.split("|")), year)
    }
    assert 5 < len(fits) < connection.execute("select count(*) from items").fetchone()[0] - 5
    for path in ("/recommend/9", "/recommend/987654321", "/popular"):
        ranked = [
            row for row in movies.rows(f"{path}?n=1000") if path != "/recommend/9" or row["source"] == movie_release.manifest.served_model
        ]
        expected = [
            row["item_id"] for row in ranked if row["item_id"] in fits
        ]  # behind what a model ranks, popular items have an order of their own
        shown = [row["item_id"] for row in movies.rows(f"{path}?{query}&n=1000")]
        assert shown[: len(expected)] == expected and set(shown) <= fits and len(set(shown)) == len(shown) > 0
        assert [row["item_id"] for row in pages(movies, f"{path}?{query}&n=50")] == shown, path
    body = {"ratings": [{"item_id": item, "rating": 4} for item in sorted(fits)[:2]]}
    listed = movies.client.post(f"/recommend/session?{query}&n=5", json=body).json()["rows"]
    assert len(listed) == min(5, len(fits) - 2) and {row["item_id"] for row in listed} <= fits


def test_what_is_popular_of_a_filter_is_told_as_the_table_tells_it(movies: Server) -> None:
    whole, some = movies.rows("/popular?genre=Drama&n=50"), movies.rows("/popular?any_genre=Drama&n=50")
    assert whole == some and len(some) == 50
    assert movies.rows("/popular?year_from=1&n=50") == movies.rows("/popular?n=50")


def test_a_filter_that_cannot_be_is_refused_and_one_that_is_empty_is_none(movies: Server, purchases: Server) -> None:
    for query, says in (("any_genre=Drama,Nonsense", "any_genre: release"), ("year_from=x", "year_from: expected a whole number")):
        answer = movies.get(f"/recommend/9?{query}")
        assert answer.status_code == 400 and says in answer.json()["error"]
    assert movies.rows("/recommend/9?genre=&year_from=&year_to=") == movies.rows("/recommend/9")
    assert movies.rows("/popular?genre=&year_to=") == movies.rows("/popular")
    user = quote(str(purchases.get("/").json()["users"][0]["user_id"]), safe="")
    assert purchases.rows(f"/recommend/{user}?year_from=1") == [] and purchases.rows("/popular?year_from=1") == []


def test_an_unknown_user_gets_the_fallback_or_a_404(movies: Server) -> None:
    answer = movies.get("/recommend/987654321").json()
    assert answer["personalized"] is False and answer["source"] == "popular" and answer["is_known"] is False
    assert [found["item_id"] for found in answer["rows"]] == [found["item_id"] for found in movies.rows("/popular")]
    refused = movies.get("/recommend/987654321?strict=1")
    assert refused.status_code == 404 and refused.json()["ok"] is False and refused.json()["status"] == 404
    assert answer["user_id"] == 987654321


def test_excluded_items_are_a_list_however_they_are_given(movies: Server) -> None:
    first = [found["item_id"] for found in movies.rows("/recommend/9?n=4")]
    for query in (
        f"exclude={first[0]},{first[2]}",
        f"exclude={first[0]}&exclude={first[2]}",
        f"exclude={first[0]},&n=2&exclude={first[2]},{first[0]}",
    ):
        assert [found["item_id"] for found in movies.rows(f"/recommend/9?{query}")][:2] == [first[1], first[3]], query
    answer = movies.client.post(f"/recommend/session?exclude={first[0]}&exclude={first[1]}", json={"ratings": []}).json()
    assert not {first[0], first[1]} & {found["item_id"] for found in answer["rows"]}


@pytest.mark.parametrize(
    "path",
    [
        "/recommend/1?genre=Drama&genre=Comedy",
        "/recommend/1?n=2&n=2",
        "/recommend/1?strict=1&strict=0",
        "/recommend/1?next=x&next=y",
        "/popular?genre=Drama&genre=Drama",
        "/search?q=a&q=b",
        "/similar/1?source=content&source=collaborative",
        "/popular?_shape=array&_shape=objects",
        "/releases/compare?a=x&b=y&a=z",
        "/why/1/1?n=1&n=2",
    ],
)
def test_a_parameter_of_one_value_is_refused_when_it_is_given_twice(path: str, movies: Server) -> None:
    answer = movies.get(path)
    assert answer.status_code == 400 and "is given more than once" in answer.json()["error"], answer.text
    assert ("several genres" in answer.json()["error"]) == ("genre" in path)


def test_flags_are_what_their_description_says(movies: Server) -> None:
    (schema,) = [
        p["schema"]
        for p in movies.get("/openapi.json").json()["paths"]["/recommend/{user_id}"]["get"]["parameters"]
        if p["name"] == "strict"
    ]
    for text in schema["enum"]:
        assert movies.get(f"/recommend/987654321?strict={text}").status_code == (404 if text in ("1", "true", "on", "yes") else 200)
    for text in ("", "2", "ON", "True", "01", " 1"):
        assert movies.get(f"/recommend/987654321?strict={text}").status_code == 400, text


def test_a_slash_at_the_end_changes_nothing(movies: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    for path in ("/recommend/5", "/popular", f"/similar/{item}", f"/why/5/{item}", "/releases", "/health/live", "/ratings/5"):
        assert movies.rows(f"{path}/?") == movies.rows(path), path
    assert movies.rows("/recommend/5/?n=3") == movies.rows("/recommend/5?n=3")
    assert movies.get("/ratings/5//").status_code == movies.get("/recommend/5//").status_code == movies.get("/why/1//").status_code == 404


@pytest.mark.parametrize("text", ["50.csv", " 50", "1.0", "+5", "007", "-0", "nobody", "1e3", "9223372036854775808", "%00"])
def test_an_id_of_a_wrong_kind_is_refused_on_every_route(text: str, movies: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    for path in (
        f"/recommend/{text}",
        f"/ratings/{text}",
        f"/why/{text}/{item}",
        f"/why/1/{text}",
        f"/predict/{text}/{item}",
        f"/predict/1/{text}",
        f"/similar/{text}",
    ):
        answer = movies.get(path)
        assert answer.status_code == 400 and "whole number" in answer.json()["error"], (path, answer.text)
    assert movies.send("DELETE", f"/ratings/{text}/{item}").status_code == movies.send("DELETE", f"/ratings/1/{text}").status_code == 400


def test_a_user_id_comes_back_in_the_type_of_the_release(movies: Server) -> None:
    item = movies.rows("/popular?n=1")[0]["item_id"]
    for user in (1, 987654321, -3, 9_000_000_000_000_000_001):
        assert movies.get(f"/recommend/{user}").json()["user_id"] == user
        assert movies.get(f"/why/{user}/{item}").json()["user_id"] == user
        assert movies.rows(f"/predict/{user}/{item}")[0]["user_id"] == user


def test_a_forged_token_makes_nobody_known(movies: Server, movie_release: Built) -> None:
    for token in ("1~0", "999999~0"):
        answer = movies.get(f"/recommend/987654322?next=r~{movie_release.release_id}~{token}").json()
        assert answer["is_known"] is False and answer["personalized"] is False
        assert movies.get(f"/recommend/987654322?strict=1&next=r~{movie_release.release_id}~{token}").status_code == 404
        assert movies.get(f"/ratings/987654322?next=h~{movie_release.release_id}~{token}").status_code == 404
    assert movies.get("/ratings/1?next=h~99990101T000000Z~0~10").status_code == 410


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/recommend/1?n=0", 400, "n:"),
        ("/recommend/1?n=1001", 400, "n:"),
        ("/recommend/1?n=ten", 400, "n:"),
        ("/recommend/1?n=", 400, "n:"),
        ("/recommend/1?genre=Nonsense", 400, "genre:"),
        ("/recommend/1?exclude=x", 400, "exclude:"),
        ("/recommend/1?next=x", 400, "next:"),
        ("/recommend/1?next=", 400, "next:"),
        ("/popular?next=", 400, "next:"),
        ("/recommend/1?next=r~99990101T000000Z~0~10", 410, "no longer served"),
        ("/recommend/1?limit=5", 400, "limit"),
        ("/recommend/1?strict=maybe", 400, "strict:"),
        ("/recommend/1?_shape=round", 400, "_shape:"),
        ("/similar/1?source=magic", 400, "source:"),
        ("/similar/999999999", 404, "item"),
        ("/items/999999999", 404, "item"),
        ("/similar/x", 400, "item_id"),
        ("/why/1/999999999", 404, "item"),
        ("/search", 400, "q:"),
        ("/search?q=%21", 400, "q:"),
        ("/releases/nope", 404, "release"),
        ("/releases/..%2F..", 404, "release"),
        ("/releases/compare?a=x&b=y", 404, "release"),
        ("/recommend/%FF", 400, "user_id"),
        ("/recommend", 400, "/recommend/{user_id}"),
        ("/why/1", 404, "/why/{user_id}/{item_id}"),
        ("/recommend/1/2", 404, "no such path"),
    ],
)
def test_a_refusal_names_what_was_wrong(path: str, status: int, says: str, movies: Server) -> None:
    answer = movies.get(path)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"ok", "error", "status"} and body["ok"] is False and body["status"] == status and says in body["error"]


def test_other_methods_are_refused_with_those_that_are_there(movies: Server) -> None:
    answer = movies.client.post("/recommend/1")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD" and answer.json()["ok"] is False


def test_entity_tags(movies: Server) -> None:
    first = movies.get("/recommend/11")
    tag = first.headers["etag"]
    again = movies.get("/recommend/11", headers={"if-none-match": f'"other", {tag.removeprefix("W/")}'})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == tag
    assert "no-cache" in first.headers["cache-control"] and first.headers["vary"] == "accept"
    assert movies.get("/recommend/11", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/recommend/1", "/popular", "/recommend/1?n=0", "/health/live", "/"])
def test_head_is_get_without_the_body(path: str, movies: Server) -> None:
    head, get = movies.client.head(path), movies.get(path)
    assert head.status_code == get.status_code and head.content == b"" and head.headers["content-type"] == get.headers["content-type"]


def test_shapes(movies: Server) -> None:
    rows = movies.rows("/popular?n=3")
    assert movies.get("/popular?n=3&_shape=array").json() == rows
    lines = movies.get("/popular?n=3&_shape=array&_nl=1").text
    assert [json.loads(line) for line in lines.splitlines()] == rows
    arrays = movies.get("/popular?n=3&_shape=arrays").json()
    assert [dict(zip(arrays["columns"], values)) for values in arrays["rows"]] == rows
    assert movies.get("/popular?n=3&_shape=arrayfirst").json() == [1, 2, 3]
    assert movies.get("/popular?n=3&_shape=object").json() == {str(found["item_id"]): found for found in rows}
    assert movies.get("/recommend/1?n=2&_shape=array").json() == movies.rows("/recommend/1?n=2")


def test_text_ids_are_taken_exactly(purchases: Server, purchase_release: Built) -> None:
    connection = open_immutable(purchase_release.release.database)
    for (user,) in connection.execute("select user_id from users").fetchall():
        answer = purchases.get(f"/recommend/{quote(user, safe='')}?n=3&strict=1").json()
        assert answer["ok"] and answer["user_id"] == user
        for found in answer["rows"]:
            why = purchases.get(f"/why/{quote(user, safe='')}/{quote(found['item_id'], safe='')}").json()
            assert why["item_id"] == found["item_id"] and is_close(why["score"], found["score"])
    assert purchases.get("/recommend/" + quote("zürich #0", safe="") + "?strict=1").status_code == 404
    answer = purchases.get("/recommend/nobody.json").json()
    assert answer["user_id"] == "nobody" and purchases.get("/recommend/nobody%2Ejson").json()["user_id"] == "nobody.json"


def test_similar_falls_back_to_content_for_a_cold_item(purchases: Server) -> None:
    cold = purchases.get("/similar/never%20bought").json()
    assert cold["source"] == "content" and cold["rows"]
    assert all(found["source"] == "content" for found in cold["rows"])


@pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_an_item_is_what_its_rows_say(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, release = request.getfixturevalue(served), request.getfixturevalue(built).release
    connection = open_immutable(release.database)
    n_ratings, n_lists = 0, 0
    for item, title, genres, n in connection.execute("select item_id, title, genres, n_ratings from items").fetchall():
        answer = server.get(f"/items/{quote(str(item), safe='')}").json()
        (found,) = answer["rows"]
        assert (found["item_id"], found["title"], "|".join(found["genres"]), found["n_ratings"]) == (item, title, genres, n)
        given = "select rating, count(*) from ratings where item_id = ? and rating is not null group by rating order by rating"
        assert [(row["rating"], row["n_ratings"]) for row in found["ratings"]] == [tuple(row) for row in connection.execute(given, [item])]
        listed = "select count(*), total(rank <= 10), min(rank) from recommendations where item_id = ?"
        counts = (found["n_lists"], found["n_first_tens"], found["best_rank"])
        assert counts == tuple(connection.execute(listed, [item]).fetchone())
        for source, rows in answer["similar"].items():
            whole = server.rows(f"/similar/{quote(str(item), safe='')}?source={source}&n=12")
            stored = "select count(*) from similar_items where item_id = ? and source = ?"
            assert len(rows) == min(12, connection.execute(stored, [item, source]).fetchone()[0])
            assert [row["item_id"] for row in rows] == [row["item_id"] for row in whole[: len(rows)]]
        n_ratings, n_lists = n_ratings + sum(row["n_ratings"] for row in found["ratings"]), n_lists + found["n_lists"]
    assert n_lists == connection.execute("select count(*) from recommendations").fetchone()[0]
    assert n_ratings == connection.execute("select count(rating) from ratings").fetchone()[0]


@pytest.mark.parametrize(("served", "built"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_the_profile_of_a_history_counts_its_rows(served: str, built: str, request: pytest.FixtureRequest) -> None:
    server, release = request.getfixturevalue(served), request.getfixturevalue(built).release
    connection = open_immutable(release.database)
    for (user,) in connection.execute("select user_id from users limit 20").fetchall():
        profile = server.get(f"/ratings/{quote(str(user), safe='')}?n=1").json()["profile"]
        by_rating = "select rating, count(*) from ratings where user_id = ? and rating is not null group by rating order by rating"
        assert [tuple(row.values()) for row in profile["ratings"]] == [tuple(row) for row in connection.execute(by_rating, [user])]
        by_genre = "select genre, count(*) from ratings join item_genres using (item_id) where user_id = ? group by genre"
        assert {tuple(row.values()) for row in profile["genres"]} == {tuple(row) for row in connection.execute(by_genre, [user])}
        counts = [row["n_items"] for row in profile["genres"]]
        assert counts == sorted(counts, reverse=True)
        mean = connection.execute("select mean_rating from users where user_id = ?", [user]).fetchone()[0]
        assert profile["mean_rating"] == (None if mean is None else pytest.approx(mean))


def test_predictions_are_inside_the_scale_or_none(movies: Server, purchases: Server, movie_release: Built) -> None:
    low, high = movie_release.manifest.rating_scale
    item = movies.rows("/popular?n=1")[0]["item_id"]
    for user in (1, 2, 987654):
        (found,) = movies.rows(f"/predict/{user}/{item}")
        assert low <= found["predicted_rating"] <= high
    (found,) = purchases.rows("/predict/" + quote("Zürich #0", safe="") + "/never%20bought")
    assert found["predicted_rating"] is None


def test_search_finds_by_the_beginnings_of_words(movies: Server) -> None:
    title = movies.rows("/popular?n=1")[0]["title"]
    word = max(re.findall(r"\w+", title), key=len)
    found = movies.rows(f"/search?n=1000&q={quote(word[: max(3, len(word) - 1)].upper())}")
    assert title in [row["title"] for row in found]
    assert movies.rows("/search?q=zzzzzzzzz") == []
    assert movies.get("/search?q=" + quote('" OR title:* NEAR(')).status_code == 200


def test_releases(movies: Server, movie_release: Built) -> None:
    (found,) = movies.rows("/releases")
    assert found["release"] == movie_release.release_id and found["status"] == "served"
    (one,) = movies.rows(f"/releases/{movie_release.release_id}")
    assert one["counts"] == movie_release.manifest.counts and one["metrics"] == movie_release.manifest.metrics
    compared = movies.get(f"/releases/compare?a={found['release']}&b={found['release']}").json()
    assert compared["mean_overlap_at_10"] == 1.0


def test_no_route_lacks_the_envelope_or_the_error_body(movies: Server) -> None:
    description = movies.get("/openapi.json").json()
    item = movies.rows("/popular?n=1")[0]["item_id"]
    fills = {"{user_id}": "1", "{item_id}": str(item), "{release}": movies.rows("/releases")[0]["release"]}
    release = fills["{release}"]
    queries = {
        "/search": "?q=the",
        "/similar": f"?items={item}",
        "/recommend": "?user_id=1",
        "/releases/compare": f"?a={release}&b={release}",
    }
    for pattern, operations in description["paths"].items():
        path = pattern
        for name, value in fills.items():
            path = path.replace(name, value)
        if "security" in operations.get("get", ()):
            refused = movies.get(path)
            assert refused.status_code == 401 and set(refused.json()) == {"ok", "error", "status"}, path
        elif "get" in operations and pattern not in ("/openapi.json", "/metrics"):
            answer = movies.get(path + queries.get(pattern, "")).json()
            assert set(answer) >= ENVELOPE and answer["ok"] is True, path
        refused = movies.client.request("PATCH", path)
        assert refused.status_code == 405 and set(refused.json()) == {"ok", "error", "status"}, path
        if "get" not in operations:
            refused = movies.client.request(next(iter(operations)).upper(), path, content=b"{")
            assert refused.status_code in (400, 401) and set(refused.json()) == {"ok", "error", "status"}, path


def test_a_client_that_has_the_list_or_the_reasons_is_told_so_until_something_changes(own_movies) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        item = server.rows("/recommend/7?n=3")[1]["item_id"]
        for path in ("/recommend/7", "/recommend/7?n=30", f"/why/7/{item}"):
            tag = server.get(path).headers["etag"]
            same = server.get(path, headers={"if-none-match": tag})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag), path
            page = server.get(path, headers={"if-none-match": tag, "accept": "text/html"})
            assert page.status_code == 200 and page.headers["etag"] != tag, "a page is another representation"
        assert server.get("/recommend/987654321?strict=1", headers={"if-none-match": "*"}).status_code == 404
        assert server.send("POST", "/ratings", {"user_id": 7, "item_id": item, "rating": 2}).status_code == 200
        assert server.get("/recommend/7", headers={"if-none-match": tag}).status_code == 200
        assert server.get(f"/why/7/{item}", headers={"if-none-match": tag}).status_code == 200


def test_without_an_item_that_counts_the_list_is_that_of_a_history_that_lacks_it(movies: Server) -> None:
    row = next(row for row in movies.rows("/recommend/12?n=20")[5:] if row["reasons"])
    path = f"/why/12/{row['item_id']}"
    plain, found = movies.get(path).json(), movies.get(f"{path}?without=1").json()
    assert found["rows"] == plain["rows"] and found["rank"] == row["rank"] and "without" not in plain
    most = [reason["item_id"] for reason in found["rows"] if reason["kind"] == "history" and reason["contribution"] > 0][:5]
    assert [one["item_id"] for one in found["without"]] == most
    history = movies.get("/ratings/12?n=1000").json()["rows"]
    for one in found["without"]:
        left = [
            {"item_id": had["item_id"], "rating": had["rating"], "rated_at": had["rated_at"]}
            for had in history
            if had["item_id"] != one["item_id"]
        ]
        listed = movies.client.post("/recommend/session?n=50", json={"ratings": left}).json()["rows"]
        assert one["rank"] == next((other["rank"] for other in listed if other["item_id"] == row["item_id"]), None)
    has = movies.get(f"/why/12/{history[0]['item_id']}?without=1").json()
    assert has["rank"] is None and all(one["rank"] is None for one in has["without"])
    page = movies.get(f"{path}?without=1", headers={"accept": "text/html"}).text
    assert "Without one of them" in page and page.count("<span>Without ") == len(most)
    assert 'href="?without=1"' in movies.get(path, headers={"accept": "text/html"}).text
