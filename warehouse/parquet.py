"""Parquet files that appear whole or not at all, and are the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.whole import whole

ROW_GROUP = 1 << 18
LONG_ROW_GROUP = 1 << 14  # where rows hold blobs; a row group is read and written whole


def write(path: Path, batches: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write tables one after another as one file; returns the rows written.

    Columns are taken by name and cast to the schema. Row groups have as many rows wherever the tables were cut, so the
    file does not depend on how many parts its rows came in.
    """
    n_rows, group = 0, LONG_ROW_GROUP if pa.binary() in schema.types else ROW_GROUP
    with whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for block in _regrouped(batches, schema, group):
            writer.write_table(block, row_group_size=group)
            n_rows += len(block)
    return n_rows


def _regrouped(batches: Iterable[pa.Table], schema: pa.Schema, group: int) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    n_pending = 0
    for batch in batches:
        pending.append(batch.select(schema.names).cast(schema))
        n_pending += len(batch)
        if n_pending >= group:
            joined = pa.concat_tables(pending)
            whole = n_pending // group * group
            yield joined.slice(0, whole).combine_chunks()
            pending, n_pending = [joined.slice(whole)], n_pending - whole
    if n_pending:
        yield pa.concat_tables(pending).combine_chunks()


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One file as a table."""
    return pq.read_table(path, columns=columns, partitioning=None)


def parts(folder: Path) -> list[Path]:
    """The part files of a folder in their order."""
    return sorted(folder.glob("part-*.parquet"))


def part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def n_rows(path: Path) -> int:
    """Rows of a file, from its footer."""
    return pq.read_metadata(path).num_rows


def blocks(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A file one row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


def count(path: Path, column: str, value: Any) -> int:
    """Rows of a file whose column has a value, given as the column has it or as text; read a row group at a time."""
    n = 0
    for block in blocks(path, [column]):
        kind = block[column].type
        try:
            wanted = pa.scalar(value, pa.string()).cast(kind) if isinstance(value, str) else pa.scalar(value, kind)
        except pa.ArrowInvalid:
            return 0
        n += pc.sum(pc.equal(block[column], wanted)).as_py() or 0
    return n
