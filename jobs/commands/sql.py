"""`cinematch sql`: ask a release in SQL, with DuckDB over its Parquet files."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, TYPE_CHECKING

from jobs.commands.arguments import add_command, settings_of
from schemas.errors import UsageError
from warehouse.layout import Warehouse
from warehouse.queries import canned_queries

if TYPE_CHECKING:
    import pyarrow as pa

SENTENCE = (
    "Ask a release in SQL, with DuckDB over its Parquet files. Tables are views of the release; releases.<table> has every sealed "
    "release, with the column `release`, and releases.served which one was served when. Without a query, the program `duckdb` is "
    "started with these views if it is installed."
)
EXAMPLE = (
    "cinematch sql 'select title, count(*) as n from recommendations join items using (item_id) group by all order by n desc limit 10'"
)
FORMATS = ("table", "csv", "json")


def add_to(commands) -> None:
    """Add the command `sql`."""
    command = add_command(commands, "sql", SENTENCE, example=EXAMPLE, settings_of="sql")
    command.add_argument("query", nargs="?", help="SQL of DuckDB; `-` reads it from standard input")
    command.add_argument("--question", metavar="NAME", help=f"one of the stored questions instead: {', '.join(canned_queries())}")
    command.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="value of :NAME in the query; may be repeated")
    command.add_argument("--release", default="current", help="id, `current` or `latest` (default: current)")
    command.add_argument("--format", choices=FORMATS, default="table", help="how rows are written (default: table)")
    command.add_argument("--views", action="store_true", help="write the SQL that makes the views, for other programs with DuckDB")
    command.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> None:
    import duckdb

    from warehouse import duck

    warehouse = Warehouse(Path(settings_of(parsed).warehouse))
    query = _query(parsed)
    if parsed.views:
        print(duck.views(warehouse, parsed.release), end="")
    elif query is None:
        _start_program(duck.views(warehouse, parsed.release))
    else:
        query, names = duck.parameters(query)
        with duck.connect(warehouse, parsed.release) as connection:
            try:
                relation = connection.sql(query, params=_values(parsed.param, names, warehouse, parsed.release))
                if relation is not None:
                    _write(relation, parsed.format)
            except duckdb.Error as error:
                raise duck.damage(warehouse, parsed.release, error) or UsageError(f"sql: {error}") from None


def _query(parsed: argparse.Namespace) -> str | None:
    if parsed.question is not None:
        questions = canned_queries()
        if parsed.question not in questions:
            raise UsageError(f"sql: no question {parsed.question!r}; there are {', '.join(questions)}")
        return questions[parsed.question]["sql"]
    return sys.stdin.read() if parsed.query == "-" else parsed.query


def _values(given: list[str], names: list[str], warehouse: Warehouse, release: str) -> dict[str, Any]:
    """Return the value of each parameter: an id by the release's type, a number if it reads as one, else text."""
    from warehouse.release import named, read_manifest

    texts = dict(pair.split("=", 1) for pair in given if "=" in pair)
    if wrong := [pair for pair in given if "=" not in pair]:
        raise UsageError(f"sql: --param {wrong[0]}: expected NAME=VALUE, as in --param user_id=50")
    if texts.keys() != set(names):
        raise UsageError(
            f"sql: the query has the parameters {', '.join(names) or 'none'}, got {', '.join(texts) or 'none'}; --param user_id=50"
        )
    ids = read_manifest(warehouse.sealed(named(warehouse, release))).id_types
    values = {name: ids.parse(name, text) if name in ("user_id", "item_id") else _number(text) for name, text in texts.items()}
    if unread := [name for name, value in values.items() if value is None]:
        raise UsageError(f"sql: --param {unread[0]}={texts[unread[0]]}: expected a whole number, as the ids of this release are")
    return values


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _write(relation: Any, form: str) -> None:
    if form == "table":
        relation.show(max_rows=10_000, max_width=shutil.get_terminal_size((160, 24)).columns)
        return
    table: pa.Table = relation.to_arrow_table()
    if form == "csv":
        from pyarrow import csv

        csv.write_csv(table, sys.stdout.buffer)
        return
    for row in table.to_pylist():
        print(json.dumps(row, default=str, ensure_ascii=False))


def _start_program(views: str) -> None:
    """Replace this process by the program `duckdb`, with the views. Raises UsageError if it is not installed."""
    program = shutil.which("duckdb")
    if program is None:
        raise UsageError(
            "sql: give a query, as in `cinematch sql 'select * from users limit 5'`, or install the program duckdb to type them"
        )
    os.execv(program, [program, "-cmd", views])  # nosec B606  # no shell: the user's own duckdb in place of this process
