"""Ready lists say what the tables say, whatever stands in a title or an id."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.recommend.rendered_lists import check_ready, head_of, ready_lists, Titles
from schemas.derive import arrow_schema
from schemas.errors import CheckError
from schemas.tables import EXPLANATIONS, IdTypes, READY_N, RECOMMENDATIONS
from tests.conftest import Built
from warehouse.sqlite import open_immutable

ODD = ['a "quoted" one', "line\nbreak\\", "Amélie ☕ 電影", "", "\x1f"]
TEXT = IdTypes("string", "string")


@pytest.mark.parametrize("name", ["movie_release", "purchase_release"])
def test_every_ready_list_says_what_the_tables_say(name: str, request: pytest.FixtureRequest) -> None:
    built: Built = request.getfixturevalue(name)
    n = min(READY_N, built.manifest.settings["explain_n"])
    with closing(open_immutable(built.release.database)) as connection:
        users = [row[0] for row in connection.execute("select user_id from users")]
        assert connection.execute("select count(*) from ready_lists").fetchone()[0] == len(users)
        for user in users:
            check_ready(connection, user)
            packed = connection.execute("select rows from ready_lists where user_id = ?", [user]).fetchone()[0]
            lines = zlib.decompress(packed).decode().splitlines()
            assert len(lines) == len(head_of(connection, user, n)) and all(line[-1] in ",]" for line in lines)


def test_a_list_that_says_something_else_is_found(movie_release: Built, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    shutil.copyfile(movie_release.release.database, path)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as connection:
        user, packed = connection.execute("select user_id, rows from ready_lists order by user_id limit 1").fetchone()
        rows = json.loads(zlib.decompress(packed))
        rows[0]["reasons"][0]["contribution"] += 1e-9
        connection.execute("update ready_lists set rows = ? where user_id = ?", [zlib.compress(json.dumps(rows).encode()), user])
        with pytest.raises(CheckError, match="ready list differs"):
            check_ready(connection, user)
        connection.execute("delete from ready_lists where user_id = ?", [user])
        check_ready(connection, user)  # a list that is missing is another check's: the tables alone say so


def test_texts_and_nulls_of_any_kind() -> None:
    titles = Titles(pa.table({"item_id": ODD, "title": ODD[::-1]}))
    lists = [
        {
            "user_id": user,
            "rank": rank,
            "item_id": ODD[rank - 1],
            "score": 1 / rank,
            "predicted_rating": None,
            "confidence": 1e-20,
            "source": "p",
        }
        for user in ODD
        for rank in range(1, 6)
    ]
    reasons = [
        {"user_id": user, "item_id": item, "position": position, "kind": kind, "evidence_id": evidence, "contribution": share, "detail": detail}
        for user in sorted(ODD, key=str.encode) for item in sorted(ODD[:4], key=str.encode)
        for position, (kind, evidence, share, detail) in enumerate(
            [("history", item, 5.0, None), ("genre", 'No "one"', None, '{"match": 0.5}'), ("residual", None, -0.25, '{"n": 3}')], 1
        )
    ]  # fmt: skip
    found = ready_lists(
        pa.Table.from_pylist(lists, schema=arrow_schema(RECOMMENDATIONS, TEXT)),
        pa.Table.from_pylist(reasons, schema=arrow_schema(EXPLANATIONS, TEXT)), titles, explain_n=4,
    )  # fmt: skip
    assert found["user_id"].to_pylist() == ODD and found["n_rows"].to_pylist() == [4] * len(ODD)
    for packed in found["rows"].to_pylist():
        assert b'"contribution":5.0' in zlib.decompress(packed)
        for place, row in enumerate(json.loads(zlib.decompress(packed))):
            title = ODD[-1 - place]
            assert row == {
                "rank": place + 1, "item_id": ODD[place], "title": title, "score": 1 / (place + 1), "predicted_rating": None,
                "confidence": 1e-20, "source": "p", "residual": -0.25,
                "reasons": [
                    {"kind": "history", "item_id": ODD[place], "title": title, "contribution": 5.0},
                    {"kind": "genre", "item_id": None, "title": None, "contribution": None, "genre": 'No "one"', "match": 0.5},
                ],
            }  # fmt: skip


def test_without_users_there_are_no_lists() -> None:
    none = [arrow_schema(table, IdTypes()).empty_table() for table in (RECOMMENDATIONS, EXPLANATIONS)]
    assert len(ready_lists(*none, Titles(pa.table({"item_id": [1], "title": ["one"]})), explain_n=20)) == 0
