"""Parquet files appear whole or not at all, and are the same bytes however their rows came in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from warehouse import parquet

SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), False, {"description": "the id"}), pa.field("text", pa.string())], {"grain": "one row per id"}
)


def table(n: int, start: int = 0) -> pa.Table:
    return pa.table({"text": [f"row {i % 7}" for i in range(start, start + n)], "id": pa.array(range(start, start + n), pa.int32())})


@given(st.integers(0, 300), st.lists(st.integers(0, 300), max_size=6), st.integers(1, 100))
@settings(max_examples=100)
def test_the_same_rows_are_the_same_bytes_however_they_are_cut(tmp_path_factory, n: int, cuts: list[int], row_group: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP", row_group)  # a quarter of a million rows would take long to cut a hundred times
        assert parquet.write(folder / "whole", [table(n)], SCHEMA) == n
        parquet.write(folder / "cut", (table(stop - start, start) for start, stop in zip(edges, edges[1:])), SCHEMA)
    assert (folder / "whole").read_bytes() == (folder / "cut").read_bytes()
    assert parquet.read(folder / "cut").equals(table(n).select(["id", "text"]).cast(SCHEMA))


def test_descriptions_and_the_grain_survive(tmp_path: Path) -> None:
    parquet.write(tmp_path / "t.parquet", [table(3)], SCHEMA)
    found = parquet.read(tmp_path / "t.parquet").schema
    assert found.field("id").metadata == {b"description": b"the id"} and not found.field("id").nullable
    assert found.metadata[b"grain"] == b"one row per id"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write(path, [table(3)], SCHEMA)
    before = path.read_bytes()

    def failing() -> Iterator[pa.Table]:
        yield table(2)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        parquet.write(path, failing(), SCHEMA)
    assert path.read_bytes() == before and [found.name for found in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("bad", [pa.table({"id": [1]}), pa.table({"id": ["x"], "text": ["y"]})])
def test_rows_that_do_not_fit_the_schema_are_refused(tmp_path: Path, bad: pa.Table) -> None:
    with pytest.raises((KeyError, pa.ArrowInvalid)):
        parquet.write(tmp_path / "t.parquet", [bad], SCHEMA)
    assert not list(tmp_path.iterdir())


def test_blocks_are_the_file_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 4)
    parquet.write(tmp_path / "t.parquet", [table(10)], SCHEMA)
    blocks = list(parquet.blocks(tmp_path / "t.parquet", ["id"]))
    assert [len(block) for block in blocks] == [4, 4, 2]
    assert pa.concat_tables(blocks)["id"].to_pylist() == list(range(10))
    assert parquet.n_rows(tmp_path / "t.parquet") == 10


def test_an_empty_table_is_a_file_with_its_columns(tmp_path: Path) -> None:
    assert parquet.write(tmp_path / "t.parquet", [], SCHEMA) == 0
    assert parquet.read(tmp_path / "t.parquet").schema.names == ["id", "text"]


def test_parts_are_listed_in_their_order(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        parquet.write(parquet.part(tmp_path, number), [table(1)], SCHEMA)
    (tmp_path / ".part-00001.parquet.1.tmp").touch()
    assert parquet.parts(tmp_path) == [parquet.part(tmp_path, number) for number in (0, 2, 10)]
