"""JSON lines, and folders and patterns of files, read as the one CSV that holds the same rows."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from jobs.sources.json_lines import open_json_lines
from jobs.sources.streams import Input
from jobs.sources.table import open_table, Table
from schemas.errors import SourceError

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = [
    {"user_id": "Zoë", "item_id": "0017", "rating": 4.5, "rated_at": "2025-03-01 10:00:00", "genres": "Drama|War", "title": 'M, "1931"'},
    {"user_id": "b", "item_id": "18", "rating": 0.5, "rated_at": "2025-03-02 11:30:00", "genres": "", "title": ""},
    {"user_id": "b", "item_id": "0017", "rating": 5, "rated_at": "2025-03-03 00:00:00", "genres": "Drama|War", "title": 'M, "1931"'},
]


def as_csv(rows: list[dict], *, delimiter: str = ",", columns: list[str] | None = None) -> str:
    columns = columns or list(ROWS[0])
    quoted = lambda value: '"' + str(value).replace('"', '""') + '"'
    return "\n".join([delimiter.join(columns), *(delimiter.join(quoted(row[name]) for name in columns) for row in rows)]) + "\n"


def as_json(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(source: Table) -> tuple[list[dict], list[tuple[str, int, str]], list[dict]]:
    """Rows without their lines, refusals as file, line and reason, and items."""
    batches = list(source.interactions())
    rows = [row for batch in batches for row in batch.accepted.drop(["line"]).to_pylist()]
    refused = [(row["source"], row["line"], row["reason"]) for batch in batches for row in batch.refused.to_pylist()]
    return rows, refused, source.catalogue().items.sort_by("item_id").to_pylist()


def of(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def same(tmp_path: Path) -> tuple:
    """Return the rows, refusals and items of a CSV of the same rows."""
    found = read(open_table(of(tmp_path / "same.csv", as_csv(ROWS)), latest=LATEST))
    assert len(found[0]) == 3 and not found[1] and [item["title"] for item in found[2]] == ['M, "1931"', ""]
    return found


@pytest.mark.parametrize("packed", [str.encode, lambda text: gzip.compress(text.encode()), lambda text: text.encode("utf-16")])
def test_json_lines_give_what_csv_gives(tmp_path: Path, same: tuple, packed) -> None:
    lists = [row | {"genres": row["genres"].split("|") if row["genres"] else None} for row in ROWS]
    lists[1] |= {"title": None}
    del lists[1]["genres"]
    text = "\n" + as_json(lists[:2]) + "  \r\n" + as_json(lists[2:])
    assert read(open_table(of(tmp_path / "rows.jsonl", packed(text)), latest=LATEST)) == same


def test_of_json_lines_each_bad_one_is_refused_with_its_reason(tmp_path: Path) -> None:
    good = [{"user_id": user, "item_id": 2**53 + user, "rating": 3} for user in (1, 2)]
    lines = [json.dumps(good[0]), '{"user_id": 1,', "[1, 2]", "{} {}", '{"item_id": 7, "rating": 3}', "3", json.dumps(good[1])]
    content = "\n".join(lines).encode() + b'\n{"user_id": "\xff"}'
    rows, refused, _ = read(open_table(of(tmp_path / "rows.json", content), latest=LATEST, rating_scale=(1, 5)))
    assert [(row["user_id"], row["item_id"]) for row in rows] == [("1", str(2**53 + 1)), ("2", str(2**53 + 2))]
    assert [line for _, line, _ in refused] == [2, 3, 4, 5, 6, 8] and {name for name, _, _ in refused} == {"rows.json"}
    for (_, _, reason), expected in zip(
        refused, ("is no JSON: Expecting", "is no object", "more than one", "is empty", "is no obj", "UTF-8")
    ):
        assert expected in reason


def test_what_is_no_file_of_json_lines_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a JSON array; expected one object a line: jq"):
        open_table(of(tmp_path / "a.json", "[\n " + as_json(ROWS[:1])), latest=LATEST)
    with pytest.raises(SourceError, match="its first rows are no JSON objects"):
        open_table(of(tmp_path / "b.json", '{"user_id: 1}\n'), latest=LATEST)
    with pytest.raises(SourceError, match="the file has: who, item_id|who"):
        open_table(of(tmp_path / "c.json", '{"who": 1, "item_id": 2}\n'), latest=LATEST)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text(max_size=5)), min_size=1), st.integers(1, 40))
def test_where_blocks_of_json_lines_are_cut_changes_nothing(tmp_path_factory, rows: list[dict], block_bytes: int) -> None:
    path = of(tmp_path_factory.mktemp("cut") / "rows.json", as_json([{"a": "", "b": "", "c": ""}, *rows]))
    found = [
        (int(line), value.decode())
        for block in open_json_lines(Input(path)).blocks({"user_id": "b"}, block_bytes=block_bytes)
        for line, value in zip(block.lines, block.columns["user_id"].to_pylist())
    ]
    assert found == [(line, row.get("b", "")) for line, row in enumerate([{}, *rows], 1)]


@pytest.mark.parametrize("named", ["sales", "sales/*", "sales/**/*.csv"])
def test_a_folder_or_a_pattern_is_one_table(tmp_path: Path, same: tuple, named: str) -> None:
    """Each file with a delimiter and an order of columns of its own; what Spark and spreadsheets leave beside them is no data."""
    of(tmp_path / "sales" / "2024.csv", as_csv(ROWS[:1], delimiter=";"))
    of(tmp_path / "sales" / ("deep" if "**" in named else "") / "2025.csv", as_csv(ROWS[1:], columns=sorted(ROWS[0])))
    if named == "sales":
        of(tmp_path / "sales" / "_SUCCESS", "")
        of(tmp_path / "sales" / ".2025.csv.crc", "crc")
    source = open_table(tmp_path / named, latest=LATEST)
    assert read(source) == same and len(source.inputs) == 2
    assert source.read_as["file"].startswith("2 files, utf-8, fields delimited by ';'; or utf-8")


def test_a_refused_row_of_several_files_is_found_in_its_own(tmp_path: Path) -> None:
    for month in ("1", "2"):
        of(tmp_path / month / "rows.csv", f"user_id,item_id,rating\n1,2,3\n{month},,3\n1,5,{2 if month == '1' else 2.5}\n")
    source = open_table(tmp_path / "*" / "rows.csv", latest=LATEST)
    rows, refused, _ = read(source)
    assert refused == [("1/rows.csv", 3, "item_id is empty"), ("2/rows.csv", 3, "item_id is empty")] and len(rows) == 4
    assert source.rating_scale == (0.5, 5) and "first 6" in source.read_as["rating_scale"]


def test_json_lines_and_csv_are_one_table_if_their_columns_are_the_same(tmp_path: Path, same: tuple) -> None:
    of(tmp_path / "rows" / "1.json", as_json(ROWS[:1]))
    of(tmp_path / "rows" / "2.csv", as_csv(ROWS[1:]))
    assert read(open_table(tmp_path / "rows", latest=LATEST)) == same
    of(tmp_path / "rows" / "README.txt", "These are sales.\n")
    with pytest.raises(SourceError, match=r"README.txt: its columns differ from those of 1.json; expected files of one table"):
        open_table(tmp_path / "rows", latest=LATEST)


def test_partitions_of_parquet_are_one_table_and_no_other_kind_is_among_them(tmp_path: Path) -> None:
    for year in (2024, 2025):
        (tmp_path / "rows" / f"year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [1, 2], "item_id": [year, year]}), tmp_path / "rows" / f"year={year}" / "0.parquet")
    rows, _, _ = read(open_table(tmp_path / "rows", latest=LATEST))
    assert [row["item_id"] for row in rows] == [2024, 2024, 2025, 2025]
    of(tmp_path / "rows" / "more.csv", "user_id,item_id\n1,2\n")
    with pytest.raises(SourceError, match=r"0.parquet is Parquet and more.csv is not; expected files of one kind"):
        open_table(tmp_path / "rows", latest=LATEST)


def test_a_path_without_files_of_rows_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a folder without files of rows; expected CSV, JSON lines or Parquet"):
        open_table(tmp_path, latest=LATEST)
    with pytest.raises(SourceError, match=r"sales-\*.csv: no file has a name like that"):
        open_table(tmp_path / "sales-*.csv", latest=LATEST)
    items = of(tmp_path / "items" / "1.csv", "item_id,title\n1,One\n").parent
    of(items / "2.csv", "item_id,title\n2,Two\n")
    with pytest.raises(SourceError, match=r"items: .*items is 2 files; expected one, in which an item has one row"):
        open_table(of(tmp_path / "rows.csv", "user_id,item_id\n1,2\n"), latest=LATEST, items=items)
