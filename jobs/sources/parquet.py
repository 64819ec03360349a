"""The reader of Parquet: a file, or a folder of parts that are one table, in blocks of typed columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.sources.blocks import Block, first_with_rows, shown
from jobs.sources.file import OnePiece
from schemas.errors import SourceError

BLOCK_ROWS = 2**19
FIRST_ROWS = 2**16


@dataclass(frozen=True)
class Parquet(OnePiece):
    """A Parquet table in one file or several. `name` is what refused rows are filed under; lines are row numbers, from 1, through
    all files. `n_first`: rows from which what it does not say of itself is told."""

    label: str
    paths: tuple[Path, ...]
    schema: pa.Schema
    n_first: int = FIRST_ROWS

    @property
    def name(self) -> str:
        return Path(self.label).name

    @property
    def written(self) -> str:
        return ""

    def files(self) -> list[Parquet]:
        """Each file as a table of its own, with its share of the first rows."""
        n_rows = [pq.read_metadata(path).num_rows for path in self.paths]
        return [
            replace(self, label=str(path), paths=(path,), n_first=-(-FIRST_ROWS * n // max(sum(n_rows), 1)))
            for path, n in zip(self.paths, n_rows)
        ]

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.schema.names)

    def blocks(self, columns: Mapping[str, str], *, block_rows: int | None = None) -> Iterator[Block]:
        """The rows, block after block. `columns`: our name of each wanted column to the file's."""
        theirs = list(dict.fromkeys(columns.values()))
        line = 1
        for part in self.paths:
            try:
                with pq.ParquetFile(part, memory_map=True) as file:
                    for batch in file.iter_batches(block_rows or BLOCK_ROWS, columns=theirs, use_threads=False):
                        arrays = {ours: plain(batch.column(batch.schema.get_field_index(name))) for ours, name in columns.items()}
                        yield block_of(arrays, line, batch.num_rows)
                        line += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{part}: damaged near row {line}: {error}") from error

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        return first_with_rows(self.blocks(columns, block_rows=self.n_first))

    def id_type(self, field: str, role: str) -> str:
        return id_type_of(self.schema.field(field).type, self.label, field, role)


def open_parquet(paths: Sequence[Path], path: Path) -> Parquet:
    """The files of a path, which have to have one schema."""
    schemas = []
    for part in paths:
        try:
            schemas.append(pq.read_schema(part))
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{part}: not a readable Parquet file: {error}") from error
        if not schemas[0].equals(schemas[-1]):
            raise SourceError(f"{part}: its columns differ from those of {paths[0].name}; expected files of one table")
    return Parquet(str(path), tuple(paths), schemas[0])


def id_type_of(kind: pa.DataType, label: str, field: str, role: str) -> str:
    """`int64` or `string`. Raises SourceError for a type that cannot be an id."""
    kind = plain(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "int64"
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return "string"
    raise SourceError(f"{label}: column {field!r} (for {role}) is {kind}; expected whole numbers or text")


def plain(what: pa.Array | pa.DataType) -> pa.Array | pa.DataType:
    """An array, or a type, without dictionaries, views, large offsets and decimals."""
    kind = what if isinstance(what, pa.DataType) else what.type
    plainer = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_large_string(plainer) or pa.types.is_string_view(plainer):
        plainer = pa.string()
    elif pa.types.is_large_binary(plainer) or pa.types.is_binary_view(plainer) or pa.types.is_fixed_size_binary(plainer):
        plainer = pa.binary()
    elif pa.types.is_decimal(plainer) or pa.types.is_float16(plainer):
        plainer = pa.float64()
    if isinstance(what, pa.DataType):
        return plainer
    return what if plainer == kind else what.cast(plainer)


def block_of(columns: dict[str, pa.Array], line: int, n_rows: int) -> Block:
    """Rows in columns as a block, the first of them that of a line."""

    def text(i: int) -> str:
        values = [values[i].as_py() for values in columns.values()]
        return ",".join("" if value is None else shown(value) if isinstance(value, bytes) else str(value) for value in values)

    return Block(columns, np.arange(line, line + n_rows, dtype=np.int64), text, [])
