"""Bounds of one query, and what strangers' SQL may not touch: limits of SQLite, an authorizer, a count of what comes back.

A time limit alone does not hold a query: a single function call can allocate gigabytes before SQLite looks at the clock again.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable
from typing import Any

VALUE_BYTES = 1 << 20
ANSWER_BYTES = 4 << 20

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 100_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 64,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 5_000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_FUNCTIONS = frozenset({"fts3_tokenizer", "load_extension", "sqlite_compileoption_get", "sqlite_compileoption_used", "sqlite_log"})
_PRAGMAS = frozenset(
    {
        "data_version",
        "database_list",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "page_count",
        "page_size",
        "schema_version",
        "table_info",
        "table_xinfo",
    }
)
_DERIVED = frozenset(
    {"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema", "json_each", "json_tree",
     *(f"pragma_{name}" for name in _PRAGMAS - {"database_list"})}  # its column `file` is a path of this machine
)  # fmt: skip


def bound(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Limit what one statement of a connection may take; what is attached already stays attached."""
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    return connection


def restrict(connection: sqlite3.Connection, refuse: Callable[[str], Exception]) -> None:
    """Let a connection read the tables that it has now, and nothing else; `refuse` makes the error of too large an answer."""
    rows = connection.execute("select name from sqlite_master union select name from sqlite_temp_master").fetchall()
    known = _DERIVED | {row[0].lower() for row in rows}

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        first_name, second_name = (first or "").lower(), (second or "").lower()
        if action in _READS:
            allowed = True
        elif action == sqlite3.SQLITE_READ:
            allowed = first_name in known
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = second_name not in _FUNCTIONS
        elif action == sqlite3.SQLITE_UPDATE:
            allowed = first == "sqlite_master"  # asked when a virtual table is first used; SQLite itself lets nobody do it
        else:
            allowed = action == sqlite3.SQLITE_PRAGMA and first_name in _PRAGMAS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)
    connection.row_factory = _Counted(refuse)


class _Counted:
    """Makes a cursor's rows, and adds up what they hold."""

    def __init__(self, refuse: Callable[[str], Exception]) -> None:
        self._refuse = refuse
        self._cursor: Callable[[], object] = lambda: None
        self._n = 0

    def __call__(self, cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> sqlite3.Row:
        if self._cursor() is not cursor:
            self._cursor, self._n = weakref.ref(cursor), 0
        self._n += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in values)
        if self._n > ANSWER_BYTES:
            raise self._refuse(f"the rows hold more than {ANSWER_BYTES >> 20} MiB; ask for fewer of them, or for fewer or shorter columns")
        return sqlite3.Row(cursor, values)
