"""Settings that say how CSV is written, where a file tells nothing or the wrong thing; and files of kinds that are not read."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from jobs.cli import main
from jobs.sources.files import open_file
from jobs.sources.open import open_source
from jobs.sources.table import Table
from schemas.errors import SettingError, SourceError
from schemas.settings import resolve

LATEST = datetime(2026, 11, 21, tzinfo=UTC)


def read_as_said(folder: Path, content: bytes, name: str = "f.csv", **said: str) -> tuple[Table, list[dict]]:
    """A file of interactions, opened as the command does, and its rows."""
    (folder / name).write_bytes(content)
    given = resolve({"source": "table", "path": str(folder / name), "warehouse": str(folder)} | said, {}, folder=folder)
    table = open_source(given, raw=folder / "raw", latest=LATEST)
    return table, [row for batch in table.interactions() for row in batch.accepted.to_pylist()]


def test_a_file_that_names_no_columns_has_numbered_ones(tmp_path: Path) -> None:
    table, rows = read_as_said(
        tmp_path, b"196,242,3,881250949\n186,302,4,891717742\n", header="off", columns="user_id=1,item_id=2,rating=3,rated_at=4"
    )
    assert [(row["line"], row["user_id"], row["item_id"], row["rating"]) for row in rows] == [
        (1, "196", "242", 3.0),
        (2, "186", "302", 4.0),
    ]
    assert table.read_as["file"] == "utf-8, fields delimited by ',', no line that names the columns"
    with pytest.raises(SourceError, match="if the first line is a row and names no columns, set header to off"):
        read_as_said(tmp_path, b"196,242,3,881250949\n186,302,4,891717742\n")


def test_what_is_said_of_a_file_counts_more_than_what_it_tells(tmp_path: Path) -> None:
    content = "user_id:item_id:a,b,c,d\nx:é:1\n".encode("utf-16-le")  # without a mark
    table, rows = read_as_said(tmp_path, content, delimiter=":", encoding="utf-16-le")
    assert table.read_as["file"] == "utf-16-le, fields delimited by ':'" and rows[0]["item_id"] == "é"
    plain = "user_id,item_id,rating\na,é,1.250\nb,c,2.500\n".encode("cp1252")
    _, rows = read_as_said(tmp_path, plain, encoding="windows-1252")
    assert [(row["item_id"], row["rating"]) for row in rows] == [("é", 1.25), ("c", 2.5)]
    thousands = b"user_id;item_id;rating\na;x;1,250\nb;y;2,500\n"
    with pytest.raises(SourceError, match="no rating is a number.*; if decimals follow a comma, set decimal to comma"):
        read_as_said(tmp_path, thousands)
    _, rows = read_as_said(tmp_path, thousands, decimal="comma", rating_scale="1:5")
    assert [row["rating"] for row in rows] == [1.25, 2.5]
    _, rows = read_as_said(tmp_path, b"user_id;item_id;weight\na;x;1,5\nb;y;2,5\n", decimal="point")
    assert rows == [], "3,5 is then no number"
    _, rows = read_as_said(tmp_path, b"user_id\titem_id\ta,b,c,d\nu\ti\t1\n", delimiter="tab")
    assert rows[0]["item_id"] == "i"


@pytest.mark.parametrize(
    ("said", "name", "expected"),
    [
        ({"delimiter": "ab"}, "f.csv", "delimiter: expected auto, tab, or one character"),
        ({"delimiter": "a"}, "f.csv", "delimiter: expected auto, tab, or one character"),
        ({"delimiter": ";", "header": "off"}, "f.jsonl", "is JSON lines; leave delimiter and header out"),
    ],
)
def test_what_is_said_of_a_file_that_cannot_be_is_refused(tmp_path: Path, said: dict[str, str], name: str, expected: str) -> None:
    content = b'{"user_id": 1, "item_id": 2}\n' if name == "f.jsonl" else b"user_id,item_id\n1,2\n"
    with pytest.raises(SettingError, match=expected):
        read_as_said(tmp_path, content, name, **said)


def feather(path: Path) -> None:
    pa.feather.write_feather(pa.table({"user_id": [1], "item_id": [2]}), path)


def orc(path: Path) -> None:
    pa.orc.write_table(pa.table({"user_id": [1], "item_id": [2]}), path)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"user_id": [1]}))


def html(path: Path) -> None:
    path.write_text("<table><tr><th>user_id</th></tr></table>")


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "user_id,item_id\n1,2\n")

    return write


def frame(path: Path) -> None:
    path.write_text('{"user_id":{"0":1,"1":2},"item_id":{"0":7,"1":8}}')


@pytest.mark.parametrize(
    ("write", "kind", "remedy"),
    [
        (feather, "an Arrow file", "save it as one of these"), (orc, "an ORC file", "save it as one of these"),
        (pickled, "a pickle", "save it as one of these"), (html, "HTML or XML", "save it as one of these"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "a workbook of a spreadsheet", "save it as one of these"),
        (zipped("sales.csv"), "a zip", "unpack it first"), (frame, "one JSON object of columns", "pandas' to_json"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(tmp_path: Path, write: Callable[[Path], None], kind: str, remedy: str, capsys) -> None:
    path = tmp_path / "given"
    write(path)
    with pytest.raises(SourceError, match=f"given: {kind}.*; expected .*: {remedy}"):
        open_file(path)
    assert main(["inspect", str(path)]) == SourceError.exit_code and kind in capsys.readouterr().err
