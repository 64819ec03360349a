"""`cinematch inspect`: how a file would be read, its first rows, what would be refused, and the command that reads it."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.commands.arguments import add_command, settings_of
from schemas.errors import SourceError
from schemas.settings import FIELDS, Settings
from warehouse.layout import Warehouse

if TYPE_CHECKING:
    from jobs.sources import Batch, Source

SENTENCE = "Show how a file would be read: columns, guesses, first rows, what would be refused, and the command that reads it."
EXAMPLE = "cinematch inspect purchases.csv.gz --columns user_id=CustomerID,item_id=StockCode"
N_SHOWN = 5
SAID = (
    "query", "columns", "items", "item_columns", "users", "user_columns", "delimiter", "encoding", "header", "decimal", "rating_scale",
    "date_format",
)  # fmt: skip


def add_to(commands) -> None:
    """Add the command `inspect`."""
    command = add_command(commands, "inspect", SENTENCE, example=EXAMPLE, settings_of="inspect")
    command.add_argument("path", help="file, folder, zip or pattern")
    command.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> int:
    from jobs.ingest.step import TOLERANCE
    from jobs.sources.databases import is_database, shown
    from jobs.sources.movielens import is_movielens
    from jobs.sources.open import open_source

    settings = settings_of(parsed)
    is_one = not is_database(settings.path) and is_movielens(Path(settings.path))
    settings = replace(settings, source="movielens" if is_one else "table")
    source = open_source(settings, raw=Warehouse(Path(settings.warehouse)).raw, latest=datetime.now(UTC) + TOLERANCE)
    batch = next((batch for batch in source.interactions() if batch.n_read), None)
    if batch is None:
        raise SourceError(f"{shown(settings.path)}: no rows; expected one interaction a row")
    print("\n".join([*_read_as(settings, source, batch), "", *_first_rows(batch), "", *_refused(batch), "", *_command(settings, source)]))
    return 0


def _read_as(settings: Settings, source: Source, batch: Batch) -> list[str]:
    """Say how the file was read, a line for each thing that was told of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from jobs.ingest.read_as import of_file
    from jobs.sources.databases import shown

    said, ids, items = of_file(source), batch.accepted["item_id"], source.catalogue().items
    if len(items):
        known = pc.is_in(ids.unique().cast(pa.string()), value_set=items["item_id"].cast(pa.string()))
        said["catalogue"] = f"{len(items):,} items, {pc.sum(known).as_py() or 0:,} of the {len(known):,} of these rows among them"
    width = max(map(len, said))
    return [f"{shown(settings.path)}: {source.name}", *(f"  {name:<{width}}  {text}" for name, text in said.items())]


def _first_rows(batch: Batch) -> list[str]:
    """The first rows that are accepted, a column each for what the file has."""
    rows = batch.accepted.slice(0, N_SHOWN)
    lines = [["line", *(name for name in rows.column_names if name != "line" and rows[name].null_count < max(len(rows), 1))]]
    for row in rows.to_pylist():
        row["rated_at"] = (
            row["rated_at"] if row["rated_at"] is None else f"{datetime.fromtimestamp(row['rated_at'], UTC):%Y-%m-%d %H:%M:%S}"
        )
        lines.append([str(row[name]) for name in lines[0]])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ["first rows", *("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip() for line in lines)]


def _refused(batch: Batch) -> list[str]:
    """How many of the rows that were looked at would be refused, with the reasons that are most frequent and a line of each."""
    reasons = Counter(batch.refused["reason"].to_pylist())
    first = {row["reason"]: row for row in reversed(batch.refused.to_pylist())}
    lines = [f"{sum(reasons.values()):,} of the first {batch.n_read:,} rows would be refused"]
    for reason, n in reasons.most_common(N_SHOWN):
        lines.append(f"  {n:,}  {reason}; line {first[reason]['line']}: {first[reason]['text'][:80]}")
    return lines


def _command(settings: Settings, source: Source) -> list[str]:
    """The command that builds a release of it. Columns and a table that were guessed are named, so that the next file is read the same way; a
    URL with what is not to be shown is left to the environment."""
    from jobs.sources.databases import Database, shown

    given = {name: getattr(settings, name) for name in SAID if getattr(settings, name) != FIELDS[name].default}
    if isinstance(file := getattr(source, "file", None), Database) and file.table:
        given = {"query": file.table} | given
    for name in ("columns", "item_columns", "user_columns"):
        if name in source.read_as:
            given[name] = source.read_as[name].replace(", ", ",")
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    path = shlex.quote(settings.path) if shown(settings.path) == settings.path else '"$CINEMATCH_PATH"'
    return ["to build a release of it", f"  cinematch run --source {source.name} --path {path} {shlex.join(words)}".rstrip()]
