"""Facts that a file does not say of itself, told from its first rows: the rating scale, and how times and ids are written.

Where the rows leave it open, and a wrong guess would change every rating or date, the setting that says it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, UTC
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import ids, scales, times
from jobs.sources.blocks import Block
from jobs.sources.catalogue import readable
from jobs.sources.file import File
from jobs.sources.times import with_points
from schemas.errors import SettingError, SourceError

_ORDERS = {times.DAY_FIRST: "day first", times.MONTH_FIRST: "month first"}


class Told(NamedTuple):
    """The scale, None without ratings; one of the forms of `times`; the ids that are written as 196.0; the numbers that are written as
    3,5; and all that in words."""

    rating_scale: tuple[float, float] | None
    time_form: str
    floats: frozenset[str]
    commas: frozenset[str]
    read_as: dict[str, str]


def told(
    file: File, columns: Mapping[str, str], *, rating_scale: tuple[float, float] | None = None, date_format: str = "", decimal: str = ""
) -> Told:
    """Return what the first rows tell of a file of interactions. Raises SourceError if there are none, or none that can be read,
    SettingError where they leave the scale or the order of dates open."""
    wanted = {ours: theirs for ours, theirs in columns.items() if ours in ("user_id", "item_id", "rating", "weight", "rated_at")}
    first = file.first_rows(wanted)
    if first.refused and not len(first.lines):
        line, _, reason = first.refused[0]
        raise SourceError(f"{file.label}: no row can be read; the first, line {line}: {reason}")
    if not len(first.lines):
        raise SourceError(f"{file.label}: no row below the names of the columns; expected one interaction a row")
    left_out = [name for name in file.fields if name not in columns.values()]
    read_as = {
        "columns": ", ".join(f"{ours}={theirs}" for ours, theirs in columns.items()),
        "left_out": ", ".join(left_out) or "no column",
    }
    if file.written:
        read_as["file"] = file.written
    numbers = {role: first.columns[role] for role in ("rating", "weight") if role in columns}
    commas = frozenset(role for role, values in numbers.items() if _has_commas(values, decimal))
    if commas:
        read_as["decimals"] = "; ".join(f"{role} 3,5 as 3.5" for role in sorted(commas))
    if "rating" in columns:
        ratings = with_points(readable(first.columns["rating"])) if "rating" in commas else first.columns["rating"]
        rating_scale, read_as["rating_scale"] = _scale(file, columns["rating"], ratings, rating_scale)
    form = ""
    if "rated_at" in columns:
        form = _time_form(file, columns["rated_at"], first.columns["rated_at"], date_format)
        read_as["times"] = _form_in_words(form)
    floats, notes = floats_of(first, ("user_id", "item_id"))
    return Told(rating_scale, form, floats, commas, read_as | notes)


def floats_of(first: Block, roles: tuple[str, ...]) -> tuple[frozenset[str], dict[str, str]]:
    """The ids that are written as 196.0, and what is to be said of how ids are written."""
    texts = {role: pc.utf8_trim_whitespace(readable(first.columns[role])) for role in roles if _is_text(first.columns[role])}
    floats = frozenset(role for role, values in texts.items() if ids.are_floats(values))
    said = [f"{role} 196.0 as 196" for role in sorted(floats)]
    for role, values in texts.items():
        if (cut := ids.shortened(values)) is not None:
            said.append(f"{role} such as {cut} as text: digits are lost, and different ones may have become one")
    return floats, {"ids": "; ".join(said)} if said else {}


def floats_of_ids(file: File, columns: Mapping[str, str], role: str) -> frozenset[str]:
    """Return what the first rows tell of a file of items or users."""
    first = file.first_rows({role: columns[role]})
    return floats_of(first, (role,))[0] if len(first.lines) else frozenset()


def _scale(file: File, column: str, values: pa.Array, given: tuple[float, float] | None) -> tuple[tuple[float, float], str]:
    """The scale, and where it is from."""
    if given is not None:
        return given, f"{_span(given)}, as set"
    numbers = _numbers(values)
    scale = scales.told(numbers)
    if scale is None:
        hint = "; if decimals follow a comma, set decimal to comma" if "," in _shown(values.slice(0, 1)) else ""
        raise SourceError(f"{file.label}: no rating is a number in column {column!r}; first: {_shown(values)}{hint}")
    doubt = scales.doubt(numbers, scale)
    if doubt is not None:
        marks = " or ".join(f"{mark:g}" for mark in doubt.marks)
        raise SettingError(
            f"rating_scale: {file.label}: {doubt.share:.1%} of the first {len(numbers):,} ratings are {marks}, all others lie on "
            f"{_span(doubt.narrow)}; set {_setting(doubt.narrow)} to refuse those rows, or {_setting(scale)} if they are ratings"
        )
    zero = "; 0 counts as a rating, set rating_scale if it is none" if scale[0] == 0 and scale[1] > 1 else ""
    return scale, f"{_span(scale)}, told from the first {len(numbers):,}{zero}"


def _span(scale: tuple[float, float]) -> str:
    return f"{scale[0]:g} to {scale[1]:g}"


def _setting(scale: tuple[float, float]) -> str:
    return f"{scale[0]:g}:{scale[1]:g}"


def _time_form(file: File, column: str, values: pa.Array, order: str) -> str:
    if not _is_text(values):
        return "" if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type) else times.told(values)
    first = _filled(values)
    form = times.told(first, order)
    if order or times.order_of(form) == "":
        return form

    def rest() -> Iterator[pa.Array]:
        for block in file.blocks({"rated_at": column}):
            yield _filled(block.columns["rated_at"])

    form, doubtful = times.decided(form, chain([first], rest()))
    if doubtful is not None:
        read = {times.order_of(pattern): pattern for pattern in (form, times.other_order(form))}
        said = " or ".join(f"{_day(doubtful, pattern)} ({_ORDERS[order]})" for order, pattern in sorted(read.items()))
        raise SettingError(
            f"date_format: {file.label}: every date of column {column!r} can be read in two ways, {doubtful!r} as {said}; set "
            f"date_format to {times.DAY_FIRST} or {times.MONTH_FIRST}"
        )
    return form


def _day(text: str, form: str) -> str:
    at = times.seconds(pa.array([text]), form)[0].as_py()
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def _form_in_words(form: str) -> str:
    if not form:
        return "as typed"
    order = _ORDERS.get(times.order_of(form))
    return f"dates, {order}" if order else "ISO 8601" if form == times.ISO else form


def _numbers(values: pa.Array) -> np.ndarray:
    if _is_text(values):
        values = times.numbers_or_null(readable(values), pa.float64())
    return values.drop_null().cast(pa.float64()).to_numpy(zero_copy_only=False)


def _filled(values: pa.Array) -> pa.Array:
    values = readable(values)
    return values.filter(pc.not_equal(values, ""))


def _is_text(values: pa.Array) -> bool:
    return pa.types.is_binary(values.type) or pa.types.is_string(values.type)


def _has_commas(values: pa.Array, decimal: str) -> bool:
    """Whether decimals follow a comma: as it is said, else as the values tell."""
    return _is_text(values) and (decimal == "comma" or not decimal and times.has_commas(readable(values)))


def _shown(values: pa.Array) -> str:
    return ", ".join(repr(value) for value in readable(values.slice(0, 3)).to_pylist())
