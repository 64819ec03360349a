"""Folders named as key=value: their values are columns of the rows below them."""

from __future__ import annotations

import shutil
from datetime import datetime, UTC
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.ingest.step import _input
from jobs.sources.partitions import NULL
from jobs.sources.table import open_table, Table
from schemas.errors import SourceError

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = pa.table(
    {
        "user_id": [f"u {n % 7}/{n % 2}" for n in range(200)],
        "item_id": [n % 9 + 1 for n in range(200)],
        "rating": [n % 5 + 1 for n in range(200)],
        "rated_at": [f"2025-{n % 3 + 10}-{n % 4 + 20} 00:00:00" for n in range(200)],
        "note": ["x", "y"] * 100,
    }
)


def read(source: Table) -> list[tuple[str, str, float, int]]:
    """Rows as text where an id may be either, in order."""
    batches = list(source.interactions())
    assert not any(len(batch.refused) for batch in batches)
    rows = (row for batch in batches for row in batch.accepted.to_pylist())
    return sorted((str(row["user_id"]), str(row["item_id"]), row["rating"], row["rated_at"]) for row in rows)


def put(folder: Path, **columns: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return folder


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("keys", ["note", "user_id", "item_id", "rating", "rated_at", "rating, item_id, note"])
def test_what_duckdb_writes_partitioned_is_the_table_that_it_was(tmp_path: Path, form: str, keys: str) -> None:
    pq.write_table(ROWS, tmp_path / "whole.parquet")
    duckdb.sql(f"copy (from '{tmp_path / 'whole.parquet'}') to '{tmp_path / 'parts'}' (format {form}, partition_by ({keys}))")
    source, whole = open_table(tmp_path / "parts", latest=LATEST), open_table(tmp_path / "whole.parquet", latest=LATEST)
    assert read(source) == read(whole) and len(source.inputs) > 1
    assert (source.rating_scale, source.columns, source.time_form) == (whole.rating_scale, whole.columns, whole.time_form)
    assert source.read_as["file"].endswith(f", partitioned by {keys}") and source.read_as["left_out"] == "note"
    assert read(open_table(tmp_path / "parts" / f"{keys.split(',')[0]}=*" / "**" / f"*.{form}", latest=LATEST)) == read(whole)


def test_a_rating_scale_is_told_from_every_partition_by_its_rows(tmp_path: Path) -> None:
    """The first file has one value alone; a few marks of 99 in a file of their own are few."""
    for rating, n in ((1, 3000), (5, 3000), (3, 6000), (99, 30)):
        put(tmp_path / "r" / f"stars={rating}", user=list(range(n)), item=list(range(n)))
    columns = "user_id=user,item_id=item,rating=stars"
    assert open_table(tmp_path / "r", latest=LATEST, columns=columns).rating_scale == (1, 5)
    shutil.rmtree(tmp_path / "r" / "stars=99")
    assert open_table(tmp_path / "r", latest=LATEST, columns=columns).rating_scale == (1, 5)


def test_the_null_partition_is_no_value(tmp_path: Path) -> None:
    for item in ("a%2Fb", NULL):
        put(tmp_path / "r" / f"item_id={item}", user_id=[1, 2])
    batches = list(open_table(tmp_path / "r", latest=LATEST).interactions())
    assert [row["item_id"] for batch in batches for row in batch.accepted.to_pylist()] == ["a/b", "a/b"]
    refused = [row for batch in batches for row in batch.refused.to_pylist()]
    assert [(row["source"], row["line"], row["reason"]) for row in refused] == [
        (f"item_id={NULL}/part-0.parquet", line, "item_id is empty") for line in (1, 2)
    ]


def test_a_partition_by_year_is_no_year_of_an_item_unless_it_is_said(tmp_path: Path) -> None:
    for year in (2024, 2025):
        put(tmp_path / "r" / f"year={year}", user_id=[1, 2], item_id=[7, 8], title=["Seven", "Eight"])
    source = open_table(tmp_path / "r", latest=LATEST)
    assert source.catalogue().items["year"].to_pylist() == [None, None] and source.read_as["left_out"] == "year"
    source = open_table(tmp_path / "r", latest=LATEST, columns="year=year")
    assert source.catalogue().items["year"].to_pylist() == [2024, 2024]


def test_a_column_of_the_file_comes_before_that_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "r" / "item_id=1", user_id=[1], item_id=[10])
    source = open_table(tmp_path / "r", latest=LATEST)
    assert [row["item_id"] for batch in source.interactions() for row in batch.accepted.to_pylist()] == [10]
    assert "file" not in source.read_as and not source.digests


def test_no_name_of_a_refused_rows_file_holds_a_user(tmp_path: Path) -> None:
    for user in ("anna", "ben"):
        put(tmp_path / "r" / f"user_id={user}", item_id=["x", ""])
    refused = [row for batch in open_table(tmp_path / "r", latest=LATEST).interactions() for row in batch.refused.to_pylist()]
    assert [(row["source"], row["line"]) for row in refused] == [("r, file 1", 2), ("r, file 2", 2)]


def test_the_digest_of_the_input_is_of_folders_too(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "same", "other"):
        put(tmp_path / name / f"day=2025-01-0{2 if name == 'other' else 1}", user_id=[1], item_id=[2])
        source = open_table(tmp_path / name, latest=LATEST)
        digests.append(_input(source.inputs, source.digests)["sha256"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("rating=1", "rating=good"), r"rating=good/part-0.parquet: its folder says rating=good, which cannot be read as rating; expected a num"),
        (("rated_at=2025-01-02", "rated_at=2025-02-31"), "its folder says rated_at=2025-02-31, which cannot be read as rated_at; expected a ti"),
        (("rating=1", "rating=2/month=3"), r"month=3/part-0.parquet: partitioned by rating, month; expected rating, as .*rating=1/part"),
        (("rating=1", "more"), "more/part-0.parquet: partitioned by nothing; expected rating, as "),
        (("rating=1", "rating=1/rating=2"), "rating=2/part-0.parquet: two of its folders name the partition 'rating'"),
        (("rating=1", "rating=%FF"), "the name of its folder, '%FF', is no UTF-8"),
    ],
)  # fmt: skip
def test_folders_that_are_no_partitions_of_one_table_are_named(tmp_path: Path, folders: tuple[str, str], said: str) -> None:
    for folder in folders:
        put(tmp_path / "r" / folder, user_id=[1, 2], item_id=[3, 4])
    with pytest.raises(SourceError, match=said):
        open_table(tmp_path / "r", latest=LATEST)
