"""`import cinematch`: tables as Arrow, SQL, and a list for any history, equal to what a server answers."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

import cinematch
from schemas.errors import NotFound, ReleaseError, UsageError
from schemas.tables import TABLES
from tests.conftest import Built, cut
from tests.serving.conftest import is_close, ROOT, Server
from warehouse import forgotten


def sent(server: Server, rows: list[dict], n: int) -> list[dict]:
    answer = server.client.post(f"/recommend/session?n={n}", json={"ratings": rows})
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


@pytest.mark.parametrize("server", ["movies", "purchases"])
def test_a_history_gets_the_list_that_a_server_gives_it(server: str, request: pytest.FixtureRequest) -> None:
    built: Built = request.getfixturevalue({"movies": "movie_release", "purchases": "purchase_release"}[server])
    served: Server = request.getfixturevalue(server)
    with cinematch.open(built.warehouse.folder) as release:
        users = release.sql("select distinct user_id from ratings order by user_id limit 8")["user_id"].to_pylist()
        for user in users:
            has = release.sql("select item_id, rating from ratings where user_id = :user order by rated_at, item_id", user=user).to_pylist()
            history = [row["item_id"] if row["rating"] is None else (row["item_id"], row["rating"]) for row in has]
            found = release.recommend(history, n=15)
            expected = sent(served, [{key: value for key, value in row.items() if value is not None} for row in has], 15)
            assert found["item_id"].to_pylist() == [row["item_id"] for row in expected]
            assert found["rank"].to_pylist() == [row["rank"] for row in expected]
            for name in ("score", "predicted_rating", "confidence"):
                assert is_close(found[name].to_pylist(), [row[name] for row in expected]), name
        assert set(found["source"].to_pylist()) <= {release.manifest.served_model, "popular", "popular_genre"}
        assert not set(found["item_id"].to_pylist()) & {row["item_id"] for row in has}


def test_an_event_an_unknown_item_and_no_history_at_all(movie_release: Built, movies: Server) -> None:
    with cinematch.open(movie_release.warehouse.folder) as release:
        assert release.recommend([]).num_rows == release.manifest.settings["n"]
        assert set(release.recommend([], n=3)["source"].to_pylist()) == {"popular"}
        rated = [(1, 5.0), (2, 4.5), (3, 1.0), (4, 4.0), (5, 3.5)]
        plain = release.recommend(rated, n=5)
        assert release.recommend([*rated, 99_999_999], n=5) == plain
        assert release.recommend([1, *rated], n=5)["item_id"].to_pylist() == [
            row["item_id"] for row in sent(movies, [{"item_id": 1}, *({"item_id": item, "rating": rating} for item, rating in rated)], 5)
        ]


def test_every_table_is_arrow_and_sql_has_parameters(movie_release: Built) -> None:
    with cinematch.open(str(movie_release.warehouse.folder), release=movie_release.release_id) as release:
        assert release.id == movie_release.release_id and release.id in repr(release) and release.tables == tuple(TABLES)
        for name in release.tables:
            table = release.table(name)
            assert isinstance(table, pa.Table) and table.num_rows == release.manifest.counts[name], name
            assert table.column_names == [column.name for column in TABLES[name].columns], name
        (row,) = release.sql("select count(*) as n from items where item_id <= $most", most=3).to_pylist()
        assert row == {"n": 3}
        assert release.sql("select distinct release from releases.users")["release"].to_pylist() == [release.id]


def test_the_example_of_the_readme_runs(movie_release: Built) -> None:
    (block,) = re.findall(r"```python\n(import cinematch\n.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(block.replace('"data"', repr(str(movie_release.warehouse.folder))), names)
    assert names["lists"].num_rows == movie_release.manifest.counts["recommendations"]
    assert names["found"].num_rows == 10 and names["often"].num_rows == 5


def test_what_cannot_be_is_said(movie_release: Built, purchase_release: Built) -> None:
    with cinematch.open(movie_release.warehouse.folder) as release:
        for history, expected in (
            (["1"], "row 0: expected an item id of type int, as those of this release, got '1'"),
            ([1, (2, 9.0)], "row 1: expected a rating from 0.5 to 5, got 9.0"),
            ([(True, 4.0)], "row 0: expected an item id of type int"),
            ([2**70], "row 0: expected an item id of type int"),
            ([(1, 4.0, 5)], "row 0: expected an item id of type int"),
            ([(1, "4")], "row 0: expected a rating from 0.5 to 5, got '4'"),
            ([(1, True)], "row 0: expected a rating from 0.5 to 5, got True"),
        ):
            with pytest.raises(UsageError, match=expected):
                release.recommend(history)
        for n in (-1, "3"):
            with pytest.raises(UsageError, match="n: expected a whole number of rows"):
                release.recommend([1], n=n)
        with pytest.raises(NotFound, match="table 'lists': release .* has items, "):
            release.table("lists")
        for query in ("select nope from items", "select 1 +", ";", "select cast(title as int) from items"):
            with pytest.raises(UsageError, match="sql: "):
                release.sql(query)
    with cinematch.open(purchase_release.warehouse.folder) as release:
        item = release.sql("select item_id from items limit 1")["item_id"][0].as_py()
        with pytest.raises(UsageError, match="row 0: expected no rating"):
            release.recommend([(item, 4.0)])
    with pytest.raises(cinematch.CineMatchError, match="no release is promoted"):
        cinematch.open(movie_release.warehouse.folder / "elsewhere")


@pytest.mark.parametrize("name", ["model/ials/item_factors.npy", "model/popular/scores.npy", "model/items/parameters.json"])
@pytest.mark.parametrize("kept", [None, 0, 90])
def test_a_model_without_a_file_is_said(copy_warehouse, movie_release: Built, name: str, kept: int | None) -> None:
    copied = copy_warehouse(movie_release)
    with cinematch.open(copied.warehouse.folder) as release:
        cut(copied.release.folder / name, kept)
        with pytest.raises(ReleaseError) as told:
            release.recommend([1, 2])
    said = str(told.value)
    assert release.id in said and name in said
    assert f"run `cinematch releases verify {release.id}`" in said if kept is None else "import a good copy" in said


def test_a_model_that_is_gone_is_said(copy_warehouse, movie_release: Built) -> None:
    copied = copy_warehouse(movie_release)
    for path in (copied.release.folder / "model").rglob("*"):
        if path.is_file():
            cut(path, None)
    with (
        cinematch.open(copied.warehouse.folder) as release,
        pytest.raises(ReleaseError, match=f"release {release.id}: model/.* is missing"),
    ):
        release.recommend([1, 2])


@pytest.mark.parametrize("kept", [None, 0, 90])
def test_a_damaged_table_is_said_when_it_is_opened_and_when_it_is_read(copy_warehouse, movie_release: Built, kept: int | None) -> None:
    copied = copy_warehouse(movie_release)
    expected = rf"release {copied.release_id}: tables/items.parquet is (missing|damaged).*`cinematch releases verify {copied.release_id}`"
    with cinematch.open(copied.warehouse.folder) as release:
        cut(copied.release.table("items"), kept)
        with pytest.raises(ReleaseError, match=expected):
            release.table("items")
        with pytest.raises(ReleaseError, match=expected):
            release.sql("select count(*) from items")
    with pytest.raises(ReleaseError, match=expected):
        cinematch.open(copied.warehouse.folder)


def test_a_damaged_page_of_a_table_is_said(copy_warehouse, movie_release: Built) -> None:
    copied = copy_warehouse(movie_release)
    path = copied.release.table("items")
    content = path.read_bytes()
    half = len(content) // 2
    cut(path, 0)
    path.write_bytes(b"PAR1" + b"\xff" * half + content[half + 4 :])
    with cinematch.open(copied.warehouse.folder) as release, pytest.raises(ReleaseError, match="tables/items.parquet is damaged"):
        release.table("items")


def test_a_forgotten_user_is_in_no_table(copy_warehouse, purchase_release: Built) -> None:
    copied = copy_warehouse(purchase_release)
    with cinematch.open(copied.warehouse.folder) as release:
        user = release.table("users")["user_id"][0].as_py()
    forgotten.add(copied.warehouse, user)
    with cinematch.open(copied.warehouse.folder) as release:
        assert user not in release.table("recommendations")["user_id"].to_pylist()
