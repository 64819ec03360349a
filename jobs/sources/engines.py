"""Databases to read from: SQLite by Python's own driver, DuckDB, and whatever SQLAlchemy reaches where that is installed. Nothing is written to them.

Rows come in blocks: typed where the database types its columns as Arrow does, else as text, as CSV has it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from jobs.sources.parquet import plain
from schemas.errors import SettingError, SourceError

BLOCK_ROWS = 2**16
LOCK_S = 10  # to wait for one that writes
DATABASE, SELECT = "a database that can be read", "one select whose rows are interactions"


class Rows(NamedTuple):
    """The result of a query: the names of its columns, and its rows, a block at a time."""

    fields: tuple[str, ...]
    blocks: Iterator[pa.RecordBatch]


class Engine(Protocol):
    """An open database. `label` names it without a password; `kind` is its program."""

    label: str
    kind: str
    is_typed: bool

    def tables(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table and view."""
        ...

    def quoted(self, name: str) -> str: ...

    def rows(self, sql: str) -> Rows: ...


class SQLite:
    """A file of SQLite, opened to be read only."""

    kind, is_typed = "SQLite", False

    def __init__(self, path: Path) -> None:
        self.label = str(_file(path))
        with self._said():
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_S)
            self._connection.execute("select count(*) from sqlite_master").fetchone()  # which reads the file at last
        self._connection.text_factory = bytes  # what is not UTF-8 is refused row by row

    def tables(self) -> dict[str, tuple[str, ...]]:
        with self._said():
            found = self._connection.execute(
                "select m.name, c.name from sqlite_master m join pragma_table_info(m.name) c where m.type in ('table', 'view') "
                "and m.name not like 'sqlite|_%' escape '|' order by m.name, c.cid"
            ).fetchall()
        return _by_table((table.decode(), column.decode()) for table, column in found)

    def quoted(self, name: str) -> str:
        return _quoted(name)

    def rows(self, sql: str) -> Rows:
        with self._said(SELECT):
            cursor = self._connection.execute(sql)
        fields = tuple(column[0] for column in cursor.description or ())

        def blocks() -> Iterator[pa.RecordBatch]:
            with self._said(SELECT):
                while rows := cursor.fetchmany(BLOCK_ROWS):
                    yield _texts(rows)

        return Rows(fields, blocks())

    @contextmanager
    def _said(self, expected: str = DATABASE) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:
            is_locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            raise _refused(self, error, expected, is_locked=is_locked) from None


class DuckDB:
    """A file of DuckDB, opened to be read only."""

    kind, is_typed = "DuckDB", True

    def __init__(self, path: Path) -> None:
        import duckdb

        self.label, self._error = str(_file(path)), duckdb.Error
        with self._said():
            self._connection = duckdb.connect(str(path), read_only=True)

    def tables(self) -> dict[str, tuple[str, ...]]:
        with self._said():
            found = self._connection.execute(
                "select table_name, column_name from information_schema.columns where table_schema = current_schema() "
                "and table_catalog = current_database() order by table_name, ordinal_position"
            ).fetchall()
        return _by_table(found)

    def quoted(self, name: str) -> str:
        return _quoted(name)

    def rows(self, sql: str) -> Rows:
        with self._said(SELECT):
            relation = self._connection.sql(sql)
            if relation is None:
                return Rows((), iter(()))
            reader = relation.to_arrow_reader(BLOCK_ROWS)
        fields = tuple(reader.schema.names)

        def blocks() -> Iterator[pa.RecordBatch]:
            with self._said(SELECT):
                for batch in reader:
                    yield pa.RecordBatch.from_arrays([plain(column) for column in batch.columns], [str(i) for i in range(len(fields))])

        return Rows(fields, blocks())

    @contextmanager
    def _said(self, expected: str = DATABASE) -> Iterator[None]:
        try:
            yield
        except (self._error, pa.ArrowException) as error:
            raise _refused(self, error, expected, is_locked="Conflicting lock" in str(error)) from None


class Server:
    """A database that SQLAlchemy reaches by its URL. What it is asked is never committed."""

    is_typed = False

    def __init__(self, url: str, label: str, password: str) -> None:
        try:
            import sqlalchemy as sa
        except ModuleNotFoundError:
            raise SettingError(
                f"path: {label}: databases other than SQLite and DuckDB are read by SQLAlchemy, which is not installed; install it beside "
                "CineMatch, with the driver of the database, such as `pip install sqlalchemy psycopg2-binary`"
            ) from None
        self.label, self._errors, self._sa, self._secrets = label, sa.exc.SQLAlchemyError, sa, [password]
        try:
            parsed = sa.make_url(url)
            if password and not parsed.password:
                parsed = parsed.set(password=password)
            self._secrets.append(parsed.password or "")
            self._secrets += [one for value in parsed.query.values() for one in ([value] if isinstance(value, str) else value)]
            self.kind = parsed.get_backend_name()
            engine = sa.create_engine(parsed, poolclass=sa.NullPool, hide_parameters=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError):
            raise SettingError(
                f"path: {label}: no URL of a database that SQLAlchemy knows; expected one such as postgresql://user@host/database, or the "
                "path of a file"
            ) from None
        except ModuleNotFoundError as error:
            raise SettingError(
                f"path: {label}: its driver, the package {error.name}, is not installed; install it beside CineMatch"
            ) from None
        with self._said():
            self._connection = engine.connect()

    def tables(self) -> dict[str, tuple[str, ...]]:
        with self._said():
            inspector = self._sa.inspect(self._connection)
            names = [*inspector.get_table_names(), *inspector.get_view_names()]
            return {name: tuple(column["name"] for column in inspector.get_columns(name)) for name in sorted(names)}

    def quoted(self, name: str) -> str:
        return self._connection.dialect.identifier_preparer.quote_identifier(name)

    def rows(self, sql: str) -> Rows:
        with self._said(SELECT):
            if self._connection.in_transaction():
                self._connection.rollback()  # after a query that failed, or was not read to its end
            result = self._connection.exec_driver_sql(sql, execution_options={"yield_per": BLOCK_ROWS, "no_parameters": True})
            fields = tuple(result.keys()) if result.returns_rows else ()

        def blocks() -> Iterator[pa.RecordBatch]:
            with self._said(SELECT):
                for rows in result.partitions():
                    yield _texts(rows)

        return Rows(fields, blocks())

    @contextmanager
    def _said(self, expected: str = DATABASE) -> Iterator[None]:
        """An error of the driver without what is secret: passwords, and whatever stands behind the ? of a URL."""
        try:
            yield
        except self._errors as error:
            said = str(getattr(error, "orig", None) or error)
            for secret in filter(None, self._secrets):
                said = said.replace(secret, "***")
            raise _refused(self, said, expected) from None


def _refused(engine: Engine, error: object, expected: str, *, is_locked: bool = False) -> SourceError:
    said = " ".join(str(error).split())
    if is_locked:
        return SourceError(f"{engine.label}: locked by another program ({said}); run this again when nothing writes to it")
    return SourceError(f"{engine.label}: {engine.kind} says: {said}; expected {expected}")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected a database")
    return path


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _by_table(columns: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    return {table: tuple(column for _, column in group) for table, group in groupby(columns, lambda pair: pair[0])}


def _texts(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows as columns of text."""
    columns = [_text_column(values) for values in zip(*rows)]
    return pa.RecordBatch.from_arrays(columns, [str(i) for i in range(len(columns))])


def _text_column(values: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int} or kinds == {float}:
        try:
            return pa.array(values, pa.float64() if kinds == {float} else pa.int64()).cast(pa.string()).fill_null("").cast(pa.binary())
        except OverflowError:
            pass
    if kinds == {bytes}:
        return pa.array(values, pa.binary()).fill_null(b"")
    return pa.array(map(_text, values), pa.binary())


def _text(value: Any) -> bytes:
    """A value as a file of text would have it: nothing for null, what is in a list joined by |."""
    if value is None:
        return b""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, float) and value.is_integer():
        value = f"{value:.0f}"
    elif isinstance(value, Decimal):
        value = f"{value:f}"
    elif isinstance(value, datetime | date | time):
        value = value.isoformat()
    elif isinstance(value, list | tuple):
        return b"|".join(map(_text, value))
    return str(value).encode("utf-8", "backslashreplace")
