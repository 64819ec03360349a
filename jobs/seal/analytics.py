"""The figures of /analytics: stored questions, asked of the tables of a release before it is sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.machine.progress import processors
from schemas.tables import ANALYTICS, ITEM_GENRES, ITEM_LISTS, ITEM_RATINGS, ITEMS, RATING_MONTHS, RECOMMENDATIONS, Table, USERS
from warehouse import duck
from warehouse.queries import canned_queries, CHARTS

ASKED = (ITEMS, ITEM_GENRES, ITEM_RATINGS, ITEM_LISTS, RATING_MONTHS, USERS, RECOMMENDATIONS)
MEMORY_MIB = 1024


def analytics(files: Callable[[Table], Iterable[Path]], scratch: Path) -> pa.Table:
    """Ask the question of every chart and return its figures, rows of ANALYTICS in key order. `files` are the Parquet files of a table,
    `scratch` is a folder for what does not fit MEMORY_MIB."""
    questions, rows = canned_queries(), []
    sources = {table.name: files(table) for table in ASKED}
    with duck.over(sources, scratch, memory_mib=MEMORY_MIB, n_threads=processors()) as connection:
        for chart in CHARTS:
            answer = connection.execute(questions[chart]["sql"])
            series = [column[0] for column in answer.description or ()][1:]
            for position, (label, *values) in enumerate(answer.fetchall(), 1):
                rows += [
                    {"chart": chart, "series": name, "position": position, "label": _text(label), "value": float(value)}
                    for name, value in zip(series, values)
                    if value is not None
                ]
    in_order = sorted(rows, key=lambda row: [row[name] for name in ANALYTICS.key])
    return pa.Table.from_pylist(in_order, pa.schema([(column.name, column.type) for column in ANALYTICS.columns]))


def _text(label: Any) -> str:
    return f"{label:.12g}" if isinstance(label, float) else str(label)
