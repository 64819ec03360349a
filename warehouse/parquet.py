"""Parquet files that appear whole or not at all, and are the same bytes for the same rows.

Times are timestamps in the file, for whoever else reads it, and Unix seconds in every table that is given or handed out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.atomic import replacing

_SECONDS = pa.timestamp("s", "UTC")
ROW_GROUP = 1 << 18
LONG_ROW_GROUP = 1 << 14  # where rows hold blobs; a row group is read and written whole


class Writer:
    """One file, written table by table; it is there, whole, when the `with` block ends well.

    Columns are taken by name and cast to the schema. Row groups have as many rows wherever the tables were cut, so the
    file does not depend on how many parts its rows came in.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.n_rows = 0
        self._path, self._schema = path, schema
        self._group = LONG_ROW_GROUP if pa.binary() in schema.types else ROW_GROUP
        self._pending: list[pa.Table] = []
        self._n_pending = 0

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            self._file = stack.enter_context(pq.ParquetWriter(temporary, self._schema, compression="zstd"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._stack:
            if error is not None:
                raise error
            if self._n_pending:
                self._write(self._n_pending)

    def add(self, table: pa.Table) -> None:
        self.n_rows += len(table)
        self._pending.append(_timed(table.select(self._schema.names), self._schema).cast(self._schema))
        self._n_pending += len(table)
        if self._n_pending >= self._group:
            self._write(self._n_pending // self._group * self._group)

    def _write(self, n: int) -> None:
        joined = pa.concat_tables(self._pending)
        self._file.write_table(joined.slice(0, n).combine_chunks(), row_group_size=self._group)
        self._pending, self._n_pending = [joined.slice(n)], self._n_pending - n


def _timed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Seconds as times where the schema has times."""
    for place, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and pa.types.is_integer(table.schema.field(place).type):
            table = table.set_column(place, field.name, table[field.name].cast(_SECONDS))
    return table


def _in_seconds(table: pa.Table) -> pa.Table:
    """Times as seconds."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            seconds = table[field.name].cast(_SECONDS, safe=False).cast(pa.int64())
            table = table.set_column(place, field.with_type(pa.int64()), seconds)
    return table


def write(path: Path, batches: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write tables one after another as one file; returns the rows written."""
    with Writer(path, schema) as writer:
        for batch in batches:
            writer.add(batch)
    return writer.n_rows


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One file as a table."""
    return _in_seconds(pq.read_table(path, columns=columns, partitioning=None))


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
            yield _in_seconds(file.read_row_group(group, columns=columns))


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
