"""Tags as filters: exactly n items that fit come on every list, and in the order of the list without them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from tests.conftest import Built
from tests.serving.conftest import copied, every_scope
from tests.serving.inside import Inside, inside
from warehouse.sqlite import open_immutable

NAMES = ("any_tag", "all_tags", "no_tag")
WHOLE: dict[str, list[int]] = {}  # lists without filters, by path


@pytest.fixture(scope="module")
def asked(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    folder = copied(movie_release, tmp_path_factory.mktemp("tags") / "movies")
    with inside(folder, every_scope(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def tags_of(movie_release: Built) -> dict[int, set[str]]:
    """The tags of each item that a list may hold."""
    rows = open_immutable(movie_release.release.database).execute("select item_id, tags from items where not is_blocked")
    return {item: set(filter(None, tags.split("|"))) for item, tags in rows}


@pytest.fixture(scope="module")
def rated(asked: Inside) -> list[int]:
    """All items that anybody rated, by popularity; with a filter, which every item of the sample passes, as each has a year."""
    return [row["item_id"] for row in rows_of(asked, "/popular?n=1000&year_from=2")]


def fits(has: set[str], name: str, tags: list[str]) -> bool:
    return {"any_tag": bool(has & set(tags)), "all_tags": has >= set(tags), "no_tag": not has & set(tags)}[name]


def rows_of(asked: Inside, path: str, body: object = None) -> list[dict]:
    reply = asked.ask("GET", path.encode()) if body is None else asked.send("POST", path.encode(), body)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)["rows"]


@given(
    name=st.sampled_from(NAMES), places=st.lists(st.integers(0, 5), min_size=1, max_size=2), user=st.integers(1, 4), n=st.integers(1, 30)
)
def test_exactly_n_that_fit_come_in_the_order_of_the_list(
    asked: Inside, tags_of: dict[int, set[str]], rated: list[int], name: str, places: list[int], user: int, n: int
) -> None:
    """Of a stored user, of a visitor whose history is too short, of popular items and of neighbours."""
    common = [tag for tag, _ in Counter(tag for tags in tags_of.values() for tag in sorted(tags)).most_common(6)]
    tags = [common[place] for place in places]
    query = f"{name}={quote(','.join(tags))}"
    popular = rows_of(asked, "/popular?n=2")
    body = {"ratings": [{"item_id": popular[0]["item_id"]}]}
    for path, sent in (
        (f"/recommend/{user}", None),
        ("/recommend/session", body),
        ("/popular", None),
        (f"/similar/{popular[0]['item_id']}", None),
    ):
        found = rows_of(asked, f"{path}?n={n}&{query}", sent)
        if path not in WHOLE:
            WHOLE[path] = [row["item_id"] for row in rows_of(asked, f"{path}?n=1000", sent)]
        whole = [item for item in WHOLE[path] if fits(tags_of[item], name, tags)]
        items = [row["item_id"] for row in found]
        assert all(fits(tags_of[item], name, tags) for item in items) and len(items) == len(set(items))
        if path == "/popular":  # without filters it ends with what is stored
            whole += [item for item in rated if item not in whole and fits(tags_of[item], name, tags)]
            assert items == whole[:n]
        assert len(items) == min(n, len(whole)), path
        if path.startswith("/similar"):
            assert items == whole[:n]
        assert [row["rank"] for row in found] == list(range(1, len(found) + 1))


def test_a_tag_that_no_item_has_is_refused_by_its_name(asked: Inside) -> None:
    for name in NAMES:
        reply = asked.ask("GET", f"/popular?{name}=nobody%20says%20so".encode())
        assert reply.status == 400 and f"{name}: release" in reply.json()["error"] and "'nobody says so'" in reply.json()["error"]
