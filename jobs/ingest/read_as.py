"""The reading of a source, in words: the columns, the scale, the order of dates, the range of times; for figures and summary."""

from __future__ import annotations

from datetime import datetime, UTC

import pyarrow as pa
import pyarrow.compute as pc

from jobs.ingest.first_pass import Reading
from jobs.sources import Catalogue, Source

READ_AS = (
    "columns",
    "left_out",
    "item_columns",
    "items_left_out",
    "user_columns",
    "users_left_out",
    "file",
    "items_file",
    "users_file",
    "decimals",
    "rating_scale",
    "times",
    "ids",
    "catalogue",
    "users",
    "retention",
    "online",
)
FEBRUARY = 31 * 86_400  # of 1970: times before it are numbers that count from 0


def read_as(source: Source, read: Reading, catalogue: Catalogue) -> dict[str, str]:
    """Return what the run's figures and its summary say, by name."""
    said = of_file(source)
    said["times"] = "; ".join(filter(None, [_range(read.first_at, read.last_at), source.read_as.get("times", "")]))
    if len(catalogue.items):
        seen = read.item_ids().cast(pa.string())
        known = pc.is_in(seen, value_set=catalogue.items["item_id"].cast(pa.string()))
        n = pc.sum(known).as_py()
        said["catalogue"] = f"{n:,} of {len(seen):,} items that have interactions are in it"
        if not n:
            theirs, ours = catalogue.items["item_id"][0].as_py(), seen[0].as_py()
            said["catalogue"] += f": ids differ, such as {theirs!r} there and {ours!r} here"
    return said


def of_file(source: Source) -> dict[str, str]:
    """Return what opening a source has told of it, by name."""
    scale = source.rating_scale
    return {"rating_scale": "none: implicit feedback" if scale is None else f"{scale[0]:g} to {scale[1]:g}"} | dict(source.read_as)


def _range(first: int | None, last: int | None) -> str:
    if first is None or last is None:
        return "none"
    if last < FEBRUARY:
        return f"{first:,} to {last:,}, taken as an order: as times all would lie in January 1970"
    return f"{_day(first)} to {_day(last)}"


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
