"""Every question of warehouse/sql gives the same rows with sqlite3, and over the Parquet files with Spark SQL and DuckDB."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import closing

import pytest
from datasette.app import Datasette

from tests.conftest import Built
from warehouse import duck
from warehouse.queries import canned_queries, CHARTS, FOLDER
from warehouse.sqlite import open_immutable

QUERIES = canned_queries()
MAY_BE_EMPTY = {
    "overlooked_items", "refused_rows", "coverage_by_genre", "genre_balance_of_user", "interactions_by_rating", "lists_by_genre",
    "lists_by_decade", "lists_by_age",
}  # fmt: skip


def asked(built: Built) -> dict[str, object]:
    """A user with stored reasons, and the first item of the list."""
    with open_immutable(built.release.database) as connection:
        row = connection.execute(
            "select user_id, item_id from recommendations where rank = 1 and source = ? order by user_id limit 1",
            [built.manifest.served_model],
        ).fetchone()
    return {"user_id": row["user_id"], "item_id": row["item_id"]}


def in_sqlite(built: Built, sql: str, values: dict[str, object]) -> list[tuple]:
    connection = open_immutable(built.release.database)
    try:
        return [tuple(row) for row in connection.execute(sql, values)]
    finally:
        connection.close()


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return a == b


def assert_same_rows(found: Sequence[Sequence], expected: Sequence[Sequence]) -> None:
    assert len(found) == len(expected)
    for row, other in zip(found, expected):
        assert len(row) == len(other) and all(map(same, row, other)), (row, other)


def test_there_are_ten_and_each_is_described():
    assert len(QUERIES) >= 10
    for name, query in QUERIES.items():
        assert query["title"].endswith("?"), name
        assert query["description"].startswith("One row"), name
        assert query["sql"] == query["sql"].lower() or "'" in query["sql"], name


@pytest.mark.parametrize("kind", ["movie_release", "purchase_release"])
def test_sqlite_and_spark_sql_give_the_same_rows(kind: str, request: pytest.FixtureRequest):
    built: Built = request.getfixturevalue(kind)
    spark = request.getfixturevalue("spark")  # after the release, whose building ends the session of this process
    values = asked(built)
    for table in built.release.tables.glob("*.parquet"):
        spark.read.parquet(str(table)).createOrReplaceTempView(table.stem)
    for name, query in QUERIES.items():
        expected = in_sqlite(built, query["sql"], values)
        assert expected or name in MAY_BE_EMPTY, name
        named = {key: value for key, value in values.items() if f":{key}" in query["sql"]}
        assert_same_rows([tuple(row) for row in spark.sql(query["sql"], args=named).collect()], expected)


@pytest.mark.parametrize("kind", ["movie_release", "purchase_release"])
def test_duckdb_gives_them_too(kind: str, request: pytest.FixtureRequest):
    built: Built = request.getfixturevalue(kind)
    values = asked(built)
    with duck.connect(built.warehouse) as connection:
        for query in QUERIES.values():
            sql, names = duck.parameters(query["sql"])
            found = connection.execute(sql, {key: values[key] for key in names}).fetchall()
            assert_same_rows(found, in_sqlite(built, query["sql"], values))


@pytest.mark.parametrize("kind", ["movie_release", "purchase_release"])
def test_a_plain_datasette_gives_them_too(kind: str, request: pytest.FixtureRequest):
    """From nothing but the files of a release; a web form gives every parameter as text."""
    built: Built = request.getfixturevalue(kind)
    values = asked(built)
    metadata = json.loads((built.release.folder / "metadata.json").read_text(encoding="utf-8"))

    async def answers() -> dict[str, list]:
        datasette = Datasette(immutables=[str(built.release.database)], metadata=metadata, settings={"sql_time_limit_ms": 20_000})
        found = {}
        for name in QUERIES:
            answer = await datasette.client.get(
                f"/cinematch/{name}.json", params={"_shape": "arrays", **{k: str(v) for k, v in values.items()}}
            )
            assert answer.status_code == 200, (name, answer.text)
            found[name] = answer.json()["rows"]
        return found

    for name, rows in asyncio.run(answers()).items():
        assert rows or name in MAY_BE_EMPTY, name
        assert_same_rows(rows, in_sqlite(built, QUERIES[name]["sql"], values)[: len(rows)])


@pytest.mark.parametrize("kind", ["movie_release", "purchase_release"])
def test_the_charts_of_a_release_are_what_their_questions_answer(kind: str, request: pytest.FixtureRequest):
    built: Built = request.getfixturevalue(kind)
    with closing(open_immutable(built.release.database)) as connection:
        for chart in CHARTS:
            answer = connection.execute(QUERIES[chart]["sql"])
            series = [column[0] for column in answer.description][1:]
            rows = answer.fetchall()
            expected = [(name, at, float(row[name])) for name in series for at, row in enumerate(rows, 1) if row[name] is not None]
            stored = connection.execute("select series, position, value, label from analytics where chart = ?", [chart]).fetchall()
            assert_same_rows([tuple(row)[:3] for row in stored], sorted(expected))
            assert [row["label"] for row in stored if row["series"] == series[0]] == [
                f"{row[0]:.12g}" if isinstance(row[0], float) else str(row[0]) for row in rows
            ]


def test_parameters_may_come_as_text(movie_release: Built):
    """A web form gives text, whatever the type of the ids."""
    values = asked(movie_release)
    sql = QUERIES["why_item"]["sql"]
    assert in_sqlite(movie_release, sql, {key: str(value) for key, value in values.items()}) == in_sqlite(movie_release, sql, values)


def test_lookups_by_key_search_the_key(movie_release: Built):
    """A question about one user reads that user's rows, never a whole large table."""
    large = ("ratings", "recommendations", "explanations", "similar_items")
    for name in ("list_of_user", "why_item", "genre_balance_of_user", "neighbours_both_ways"):
        plan = in_sqlite(movie_release, f"explain query plan {QUERIES[name]['sql']}", {"user_id": 1, "item_id": 1})
        scans = [row[3] for row in plan if row[3].startswith("SCAN") and row[3].split()[1] in large]
        assert not scans, (name, scans)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 program is not installed")
def test_sqlite3_program_runs_a_file(movie_release: Built):
    values = asked(movie_release)
    done = subprocess.run(
        ["sqlite3", "-readonly", str(movie_release.release.database), "-cmd", f".parameter set :user_id {values['user_id']}"],
        input=(FOLDER / "list_of_user.sql").read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout.splitlines()) == movie_release.manifest.settings["n"]
