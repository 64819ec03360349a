"""Attributes that a file has of users are rows of a table, of the users of the release alone; they go with their user."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from jobs.ingest.user_attributes import read_attributes, write_attributes
from jobs.privacy.export_user import export
from jobs.privacy.forget import forget
from jobs.sources.movielens import open_movielens
from jobs.sources.table import open_table
from schemas.errors import SettingError, SourceError
from schemas.tables import IdTypes
from tests.conftest import Built
from warehouse import forgotten, parquet
from warehouse.forgotten import Forgotten
from warehouse.layout import Release, Warehouse

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = Forgotten("", frozenset())


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    (tmp_path / "ratings.csv").write_text("user_id,item_id\n7,1\n8,1\n")
    return tmp_path / "ratings.csv"


def found(ratings: Path, users: Path, columns: str = "") -> list[tuple[str, str, str]]:
    source = open_table(ratings, latest=LATEST, users=users, user_columns=columns)
    return sorted(tuple(row.values()) for row in read_attributes(source.users(), NOBODY).rows.to_pylist())


def test_each_column_of_a_file_is_an_attribute_of_each_user_unless_it_is_empty(ratings: Path, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("Age;User;Job; Town;\n24;7;writer; Łódź ;0\n;8.5;;x;1\n53;;none;;2\n30;9;;;3\n", encoding="utf-8")
    source = open_table(ratings, latest=LATEST, users=tmp_path / "users.csv")
    read = read_attributes(source.users(), NOBODY)
    assert read.rows.to_pylist() == [
        {"user_id": "7", "name": "Age", "value": "24"},
        {"user_id": "9", "name": "Age", "value": "30"},
        {"user_id": "7", "name": "Job", "value": "writer"},
        {"user_id": "7", "name": "Town", "value": "Łódź"},
        {"user_id": "8.5", "name": "Town", "value": "x"},
    ]
    assert [tuple(row.values()) for row in read.refused.to_pylist()] == [("users.csv (users)", 4, "53;;none;;2", "user_id is empty")]
    assert read.n_read == 4 and source.inputs == (ratings, tmp_path / "users.csv")
    assert source.read_as["users_left_out"] == "no column" and "delimited by ';'" in source.read_as["users_file"]
    assert found(ratings, tmp_path / "users.csv", "user_id=User,job=Job") == [("7", "job", "writer")]


def test_typed_columns_are_text_and_ids_those_of_the_interactions(tmp_path: Path) -> None:
    typed = {
        "user": [7.0, None, 9.0],
        "age": [24, None, 3],
        "is_new": [True, False, True],
        "since": [datetime(2025, 1, 2)] * 3,
        "likes": [["a", "b"]] * 3,
    }
    pq.write_table(pa.table(typed), tmp_path / "users.parquet")
    (tmp_path / "typed").mkdir()
    pq.write_table(pa.table({"user_id": [7, 8], "item_id": [1, 2]}), tmp_path / "typed" / "r.parquet")
    rows = found(tmp_path / "typed", tmp_path / "users.parquet")
    assert [(name, value) for user, name, value in rows if user == "7"] == [
        ("age", "24"), ("is_new", "true"), ("likes", "a|b"), ("since", "2025-01-02 00:00:00.000000"),
    ]  # fmt: skip
    (tmp_path / "users.csv").write_text("user_id,age\n7.0,24\n9.0,30\n")  # as pandas writes ids that had a gap
    assert found(tmp_path / "typed", tmp_path / "users.csv") == []  # of whole numbers, 7.0 is none
    (tmp_path / "r.csv").write_text("user_id,item_id\n7,1\n8,1\n")
    assert found(tmp_path / "r.csv", tmp_path / "users.csv") == [("7", "age", "24"), ("9", "age", "30")]


def test_a_file_that_names_no_users_and_columns_of_no_file_say_so(ratings: Path, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("who,age\n7,24\n")
    with pytest.raises(
        SourceError, match=r"users.csv: no column for user_id; the file has: who, age; say which with user_columns, such as"
    ):
        found(ratings, tmp_path / "users.csv")
    with pytest.raises(SourceError, match=r"users.csv: no column 'sex' \(for gender\); the file has: who, age"):
        found(ratings, tmp_path / "users.csv", "user_id=who,gender=sex")
    with pytest.raises(SettingError, match="user_columns: names columns of a file of users, and users names none"):
        open_table(ratings, latest=LATEST, user_columns="user_id=who")


@pytest.mark.parametrize("kind", ["int64", "string"])
def test_the_table_is_of_the_users_of_the_release_whatever_the_order_of_rows(tmp_path: Path, kind: str) -> None:
    rows = [("7", "age", "24"), ("10", "age", "30"), ("7", "age", "3"), ("007", "age", "1"), ("8", "age", "5"), ("10", "a", "x")]
    tables = []
    for name, given in (("one", rows), ("other", rows[::-1])):
        release, ids = Release(tmp_path / name), IdTypes(user_id=kind)
        users = pa.table({"user_id": pa.array(["7", "10"]).cast(ids.arrow("user_id"))})
        parquet.write(parquet.part(release.work / "users", 0), [users], users.schema)
        columns = pa.table(dict(zip(("user_id", "name", "value"), zip(*given))))
        assert write_attributes(release, columns, ids) == "2 of the 2 users of the release are among the 4 of the file"
        tables.append(parquet.read(release.table("user_attributes")).to_pylist())
    users = [7, 10, 10] if kind == "int64" else ["10", "10", "7"]
    assert tables[0] == tables[1] and [row["user_id"] for row in tables[0]] == users
    assert {(str(row["user_id"]), row["name"]): row["value"] for row in tables[0]} == {
        ("7", "age"): "24",
        ("10", "age"): "30",
        ("10", "a"): "x",
    }


def test_a_refused_row_that_names_a_forgotten_user_keeps_no_text(ratings: Path, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w")
    warehouse.folder.mkdir()
    forgotten.add(warehouse, 7)
    (tmp_path / "users.csv").write_text("user_id,age\n7,24,more\n8,30,more\n9,1\n")
    source = open_table(ratings, latest=LATEST, users=tmp_path / "users.csv")
    assert read_attributes(source.users(), forgotten.read(warehouse.forgotten)).refused["text"].to_pylist() == ["", "8,30,more"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"u.data": "1\t2\t3\t881250949\n", "u.item": "2|Two (1990)|||" + "|0" * 19 + "\n", "u.user": "1|24|M|writer|85711\n"}, "writer"),
        ({"ratings.dat": "1::2::3::978300760\n", "movies.dat": "2::Two (1990)::Drama\n", "users.dat": "1::M::24::10::85711\n"}, "10"),
    ],
)  # fmt: skip
def test_movielens_has_files_of_users(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    source = open_movielens(tmp_path, latest=LATEST)
    rows = {row["name"]: row["value"] for row in read_attributes(source.users(), NOBODY).rows.to_pylist()}
    assert rows == {"age": "24", "gender": "M", "occupation": expected, "zip_code": "85711"} and len(source.inputs) == 3
    (tmp_path / list(files)[2]).unlink()
    if expected == "writer":  # ratings.dat without users.dat may be of ml-10m, which has none
        assert len(read_attributes(open_movielens(tmp_path, latest=LATEST).users(), NOBODY).rows) == 0


def test_a_release_has_them_and_they_go_with_their_user(
    purchase_release: Built, copy_warehouse: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    built: Built = copy_warehouse(purchase_release)
    folder = str(built.warehouse.folder)
    query = "select count(*) as n, count(distinct user_id) as n_users, string_agg(distinct name, ' ' order by name) as names from user_attributes"
    assert main(["sql", query, "--format", "json", "--warehouse", folder]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": 60, "n_users": 40, "names": "born segment"}
    user = "Łódź #4"
    assert export(built.warehouse, user)["release"]["user_attributes"] == [
        {"user_id": user, "name": "born", "value": "1954"}, {"user_id": user, "name": "segment", "value": "VIP"},
    ]  # fmt: skip
    places = {one.place.rpartition("/")[2]: one.n for one in forget(built.warehouse, user)}
    assert places["cinematch.db user_attributes"] == places["user_attributes.parquet"] == 2
    assert main(["sql", query, "--format", "json", "--warehouse", folder]) == 0
    assert json.loads(capsys.readouterr().out)["n_users"] == 39


def test_the_summary_says_of_how_many_users_something_is_known(purchase_release: Built) -> None:
    figures = next(step for step in purchase_release.manifest.steps if step["step"] == "ingest")
    assert figures["read_users"] == "40 of the 60 users of the release are among the 41 of the file"
    assert figures["read_users_left_out"] == "e-mail"
