"""Properties of any requests: reads reflect writes, order does not matter, nothing sent makes the server fail."""

from __future__ import annotations

import itertools
import json
import string
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings, strategies as st

from tests.conftest import Built
from tests.serving.conftest import copied, every_scope
from tests.serving.inside import Inside, inside

users = itertools.count(9_000_000)


@pytest.fixture(scope="module")
def asked(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    folder = copied(movie_release, tmp_path_factory.mktemp("inside") / "movies")
    with inside(folder, every_scope(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def asked_purchases(purchase_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    folder = copied(purchase_release, tmp_path_factory.mktemp("inside") / "purchases")
    with inside(folder, every_scope(folder)) as found:
        yield found


ITEM = st.integers(1, 60)
STARS = st.sampled_from([0.5, 2.0, 3.5, 5.0])
STEP = st.one_of(
    st.tuples(st.just("POST"), ITEM, STARS, st.none()),
    st.tuples(st.just("PUT"), ITEM, STARS, st.none()),
    st.tuples(st.just("DELETE"), ITEM, st.none(), st.none()),
)


def additive(found: dict) -> bool:
    total = sum(reason["contribution"] or 0 for reason in found["reasons"]) + (found["residual"] or 0)
    return total == pytest.approx(found["score"], rel=1e-5, abs=1e-9)


@given(steps=st.lists(STEP, min_size=1, max_size=8))
def test_reads_reflect_writes(asked: Inside, steps: list[tuple]) -> None:
    user, model, has_begun = next(users), {}, False
    for method, item, stars, _ in steps:
        row = {"user_id": user, "item_id": item} | ({"rating": stars} if stars is not None else {})
        reply = asked.send(method, b"/ratings", row)
        assert reply.status == (200 if stars is not None or item in model else 404), reply.body
        if stars is None:
            model.pop(item, None)
        else:
            model[item], has_begun = stars, True
        reply = asked.ask("GET", f"/ratings/{user}?n=1000".encode())
        assert reply.status == (200 if has_begun else 404)
        assert {found["item_id"]: found["rating"] for found in reply.json().get("rows", ())} == model
        rows = asked.rows(f"/recommend/{user}?n=10".encode())
        assert not model.keys() & {found["item_id"] for found in rows} and all(map(additive, rows))


@given(
    history=st.dictionaries(ITEM, st.tuples(STARS, st.integers(1_000_000, 1_000_020)), min_size=1, max_size=10),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(asked: Inside, history: dict, shuffled) -> None:
    rows = [{"item_id": item, "rating": stars, "rated_at": at} for item, (stars, at) in history.items()]
    one, other = next(users), next(users)
    asked.send("POST", b"/ratings", [row | {"user_id": one} for row in rows])
    shuffled.shuffle(rows)
    for row in rows:
        asked.send("POST", b"/ratings", row | {"user_id": other})
    assert asked.rows(f"/recommend/{one}".encode()) == asked.rows(f"/recommend/{other}".encode())


@given(history=st.dictionaries(ITEM, STARS, min_size=1, max_size=8))
def test_sending_all_again_changes_nothing(asked: Inside, history: dict) -> None:
    user = next(users)
    rows = [{"user_id": user, "item_id": item, "rating": stars, "rated_at": 1_000_000} for item, stars in history.items()]
    first = asked.send("POST", b"/ratings", rows).json()
    before = asked.ask("GET", f"/recommend/{user}".encode())
    again = asked.send("POST", b"/ratings", rows).json()
    assert again["n_duplicates"] == len(rows) and again["sequence"] == first["sequence"]
    after = asked.ask("GET", f"/recommend/{user}".encode())
    assert after.headers[b"etag"] == before.headers[b"etag"] and after.json()["rows"] == before.json()["rows"]


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(user=IDS)
@example(user="a/b.json")
@example(user="..")
@example(user="%2F")
@example(user="?n=1#x")
def test_any_text_is_an_id_and_comes_back(asked_purchases: Inside, user: str) -> None:
    path = quote(user, safe="").replace(".", "%2E").encode()
    reply = asked_purchases.send("POST", b"/ratings", {"user_id": user, "item_id": user, "weight": 2})
    assert reply.status == 200 and reply.json()["rows"][0]["user_id"] == user
    answer = asked_purchases.ask("GET", b"/ratings/" + path).json()
    assert answer["user_id"] == user and [row["item_id"] for row in answer["rows"]] == [user]
    assert asked_purchases.ask("GET", b"/recommend/" + path + b"?strict=1").json()["user_id"] == user
    assert asked_purchases.ask("DELETE", b"/ratings/" + path + b"/" + path).status == 200
    assert asked_purchases.ask("GET", b"/ratings/" + path).json()["rows"] == []


SEGMENT = st.one_of(
    st.sampled_from(
        [
            b"recommend",
            b"why",
            b"predict",
            b"similar",
            b"popular",
            b"search",
            b"ratings",
            b"releases",
            b"compare",
            b"health",
            b"ready",
            b"metrics",
            b"openapi.json",
            b"1",
            b"2",
            b"-1",
            b"999999999999999999999",
            b"0x1",
            b"%00",
            b"%",
            b"%zz",
            b"%FF",
            b"..",
            b"",
            b"session",
            b"promote",
        ]
    ),
    st.text(string.printable, max_size=8).map(lambda text: quote(text, safe="").encode()),
    st.binary(max_size=6).map(lambda raw: raw.replace(b"?", b"")),
)
NAMES = st.sampled_from(["n", "genre", "exclude", "next", "strict", "_shape", "_nl", "q", "a", "b", "source", "x", ""])
VALUES = st.one_of(
    st.sampled_from(
        [
            "1",
            "0",
            "-1",
            "1000",
            "99999999999999999999",
            "Drama",
            "array",
            "object",
            "arrays",
            "r~x~0~1",
            "r~20990101T000000Z~1~1",
            "true",
            "%",
            "%FF",
            "1,2,3",
            "\\",
        ]
    ),
    st.text(max_size=8).map(lambda text: quote(text, safe="", errors="surrogatepass")),
)
QUERY = st.lists(st.tuples(NAMES, VALUES), max_size=3).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("ascii", "ignore")
)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([1, 2, 3.5, "1"]))
FIELDS = st.dictionaries(st.sampled_from(["user_id", "item_id", "rating", "weight", "rated_at", "ratings", "other"]), LEAF, max_size=5)
BODY = st.one_of(
    st.binary(max_size=40),
    FIELDS.map(lambda row: json.dumps(row).encode()),
    st.lists(st.one_of(FIELDS, LEAF), max_size=3).map(lambda rows: json.dumps(rows).encode()),
    st.lists(FIELDS, max_size=3).map(lambda rows: json.dumps({"ratings": rows}).encode()),
)


@settings(max_examples=5000)
@given(
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"]),
    segments=st.lists(SEGMENT, min_size=1, max_size=4),
    query=QUERY,
    body=BODY,
    wants_page=st.booleans(),
)
def test_nothing_sent_makes_the_server_fail(
    asked: Inside, method: str, segments: list[bytes], query: bytes, body: bytes, wants_page: bool
) -> None:
    check(asked, method, b"/" + b"/".join(segments) + b"?" + query, body, wants_page)


def check(asked: Inside, method: str, target: bytes, body: bytes, wants_page: bool) -> None:
    """No 5xx, no traceback, and an error in the one error body."""
    headers = {b"accept": b"text/html"} if wants_page else {}
    reply = asked.ask(method, target, body, headers)
    assert reply.status < 500, (method, target, body, reply.body[:500])
    assert b"Traceback" not in reply.body
    is_json = reply.headers.get(b"content-type", b"").startswith(b"application/json")
    if is_json and reply.status >= 400 and method != "HEAD" and b"x-request-id" in reply.headers:
        assert {"ok", "error", "status"} <= set(reply.json())


@settings(max_examples=1000)
@given(method=st.sampled_from(["POST", "PUT", "DELETE"]), body=BODY)
def test_no_body_makes_the_server_fail(asked: Inside, asked_purchases: Inside, method: str, body: bytes) -> None:
    for server in (asked, asked_purchases):
        check(server, method, b"/ratings", body, False)
        if method == "POST":
            check(server, method, b"/recommend/session", body, False)
