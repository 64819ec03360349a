"""A table or a query of a database as a source of rows: which one is read, and its rows in blocks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.sources.blocks import Block, first_with_rows
from jobs.sources.catalogue import ATTRIBUTES
from jobs.sources.columns import chosen, OF_INTERACTIONS, REQUIRED
from jobs.sources.engines import DuckDB, Engine, Server, SQLite
from jobs.sources.file import OnePiece
from jobs.sources.parquet import block_of, id_type_of
from schemas.errors import SettingError, SourceError

_HARMLESS = re.compile(r"(?P<scheme>[\w+.-]+://)(?:[^/?#@]*@)?(?P<place>[\w.-]*(?::[0-9]+)?(?:/[^?#@]*)?)(?:\?[^@]*)?")
_FILES = {"sqlite": SQLite, "duckdb": DuckDB}


class Database(OnePiece):
    """The rows of a table or of a query. `table` is the name of the table, empty for a query; lines are row numbers, from 1, as they come."""

    paths: tuple[Path, ...] = ()

    def __init__(self, engine: Engine, *, table: str, sql: str) -> None:
        self._engine, self.table, self._sql = engine, table, sql
        self.label = f"{engine.label}, {f'table {table}' if table else 'query'}"
        self.name = table or "query"
        self.written = f"{engine.kind}, {f'table {table}' if table else 'the rows of the query'}"
        self.fields, blocks = engine.rows(f"select * from {sql}" if table else sql)  # nosec B608  # a quoted name
        if not self.fields:
            raise SourceError(f"{self.label}: gives no rows; expected one select whose rows are interactions")
        self._first = next(blocks, None)
        self._digests: dict[str, str] = {}

    @property
    def digests(self) -> dict[str, str]:
        """A digest of each reading to the end, of its rows in any order: a database gives them in none."""
        return dict(self._digests)

    def blocks(self, columns: Mapping[str, str]) -> Iterator[Block]:
        """The rows, block after block. `columns`: our name of each wanted column to the database's; of a table no others are read."""
        theirs = list(dict.fromkeys(columns.values()))
        sql, fields = self._sql, self.fields
        if self.table:
            sql, fields = f"select {', '.join(map(self._engine.quoted, theirs))} from {sql}", tuple(theirs)  # nosec B608  # quoted names
        line, total = 1, 0
        for batch in self._engine.rows(sql).blocks:
            block = self._block(batch, fields, columns, line)
            total = (total + _hashed(block)) % 2**64
            yield block
            line += batch.num_rows
        self._digests[f"{self.name}: {', '.join(theirs)}"] = hashlib.sha256(f"{line - 1} {total}".encode()).hexdigest()

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        if self._first is None:
            return first_with_rows(())
        return self._block(self._first, self.fields, columns, 1)

    def id_type(self, field: str, role: str) -> str | None:
        """None where the database has no types of its own, or the driver does not say them in Arrow's."""
        if self._first is None or not self._engine.is_typed:
            return None
        return id_type_of(self._first.column(self.fields.index(field)).type, self.label, field, role)

    def _block(self, batch: pa.RecordBatch, fields: tuple[str, ...], columns: Mapping[str, str], line: int) -> Block:
        return block_of({ours: batch.column(fields.index(theirs)) for ours, theirs in columns.items()}, line, batch.num_rows)


def is_database(path: str) -> bool:
    """Whether a path is the URL of a database, or a file of SQLite or DuckDB."""
    return "://" in path or _program(Path(path)) is not None


def shown(path: str) -> str:
    """A path to be shown: of a URL no user, no password, and nothing behind a question mark."""
    if "://" not in path:
        return path
    parts = _HARMLESS.fullmatch(path)
    return parts["scheme"] + parts["place"] if parts else "a URL"


def open_database(path: str, *, query: str = "", columns: str = "", password: str = "") -> Database:
    """The rows of a query or of the table that it names; without one of the only table with the columns of interactions. Raises
    SourceError if there is none, or several."""
    engine = _engine(path, password)
    if query and any(mark.isspace() for mark in query.strip()):
        return Database(engine, table="", sql=query.strip().rstrip(";"))
    tables = engine.tables()
    table = query.strip() or _only(engine, tables, columns)
    quoted = engine.quoted(table) if table in tables else ".".join(map(engine.quoted, table.split(".")))
    if table not in tables and "." not in table:
        raise SourceError(f"query: {engine.label}: no table {table!r}; there are {_listed(tables)}: name one of them, or give a select")
    return Database(engine, table=table, sql=quoted)


def _engine(path: str, password: str) -> Engine:
    if "://" not in path:
        return _FILES[_program(Path(path))](Path(path))
    scheme, _, place = path.partition("://")
    if scheme.lower() not in _FILES:
        return Server(path, shown(path), password)
    if len(place) < 2 or place[0] != "/":
        raise SettingError(f"path: {shown(path)}: expected {scheme}:///orders.db, with a fourth slash for a path from the root")
    return _FILES[scheme.lower()](Path(place[1:]))


def _program(path: Path) -> str | None:
    """Whose file it is, by its first bytes."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return None
    return "sqlite" if head == b"SQLite format 3\0" else "duckdb" if head[8:12] == b"DUCK" else None


def _only(engine: Engine, tables: Mapping[str, tuple[str, ...]], columns: str) -> str:
    """The one table that has the columns of interactions, as the setting names them or by well-known names."""
    fitting = []
    for table, fields in tables.items():
        try:
            chosen(columns, "columns", (*OF_INTERACTIONS, *ATTRIBUTES), REQUIRED, fields, table)
        except SourceError:
            continue
        fitting.append(table)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SourceError(
            f"query: {engine.label}: {len(fitting)} tables have columns of interactions, {', '.join(fitting)}; name one with query, or give a "
            "select"
        )
    raise SourceError(
        f"query: {engine.label}: no table has columns for user_id and item_id; there are {_listed(tables)}: say which with columns, such as "
        "user_id=NAME,item_id=NAME, or give a select with query"
    )


def _listed(tables: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{table} ({', '.join(fields)})" for table, fields in tables.items()) or "none"


def _hashed(block: Block) -> int:
    """The sum of the hashes of rows, which is the same in any order."""
    import pandas as pd

    lists = {name for name, values in block.columns.items() if pa.types.is_nested(values.type)}
    frame = pa.table({name: pa.array(map(str, column.to_pylist())) if name in lists else column for name, column in block.columns.items()})
    return int(pd.util.hash_pandas_object(frame.to_pandas(), index=False).to_numpy().sum(dtype=np.uint64))
