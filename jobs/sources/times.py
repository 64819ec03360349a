"""Times as sources write them, to Unix seconds. How a column is written is told once, from its first
values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, UTC

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SECOND, MILLISECOND, MICROSECOND, NANOSECOND = "unix s", "unix ms", "unix us", "unix ns"
_PER_SECOND = {SECOND: 1, MILLISECOND: 10**3, MICROSECOND: 10**6, NANOSECOND: 10**9}
_MAGNITUDES = {
    SECOND: (0, 1e11),
    MILLISECOND: (1e11, 1e14),
    MICROSECOND: (1e14, 1e17),
    NANOSECOND: (1e17, 4e18),
}
_FURTHEST = 1e17
ISO, COMPACT = "iso", "%Y%m%d"
_ZONE = r"[0-9](?:Z|[+-]\d\d(?::?\d\d)?)$"
_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y")
_CLOCKS = (" %H:%M", " %H:%M:%S", "", ", %H:%M", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_SHAPES = {
    "%Y": r"\d{4}",
    "%y": r"\d\d",
    "%m": r"\d{1,2}",
    "%d": r"(?P<day>\d{1,2})",
    "%H": r"\d{1,2}",
    "%I": r"\d{1,2}",
    "%M": r"\d\d",
    "%S": r"\d\d",
    "%p": "[AaPp][Mm]",
}
_PATTERNS = [date + clock for date in _DATES for clock in _CLOCKS]
DAY_FIRST, MONTH_FIRST = "dmy", "mdy"
_N_TOLD = 10_000
_BISECT_TO = 32


def order_of(form: str) -> str:
    """Whether a pattern has the day before the month, or after it with the year last; empty for any other form."""
    places = [form.find(part) for part in ("%d", "%m")]
    if min(places) < 0 or form.startswith("%Y"):
        return ""
    return DAY_FIRST if places[0] < places[1] else MONTH_FIRST


def other_order(form: str) -> str | None:
    """The pattern with day and month the other way round, where dates are written so too; with dots they are not."""
    twin = _swapped(form)
    return twin if twin != form and twin in _PATTERNS else None


def _swapped(form: str) -> str:
    return re.sub("%[dm]", lambda part: {"%d": "%m", "%m": "%d"}[part[0]], form)


def decided(form: str, columns: Iterable[pa.Array]) -> tuple[str, str | None]:
    """The pattern or its twin of the other order, by the first column of text that one of them reads more of; where none is, a
    date that the two read differently."""
    twin, doubtful = other_order(form), None
    for texts in columns if twin else ():
        read, other = _by_pattern(texts, form), _by_pattern(texts, twin)
        if read.null_count != other.null_count:
            return (form if read.null_count < other.null_count else twin), None
        differing = texts.filter(pc.fill_null(pc.not_equal(read, other), False))
        if doubtful is None and len(differing):
            doubtful = differing[0].as_py()
    return form, doubtful


def told(values: pa.Array, order: str = "") -> str:
    """Tell how a column of text or numbers writes its times, by what reads most of it: a unit of Unix time, ISO,
    or a strptime pattern; of day and month in the given order, where one is given."""
    values = values.slice(0, _N_TOLD)
    is_text = _is_text(values)
    numbers = numbers_or_null(values, pa.float64()) if is_text else values.cast(pa.float64())
    n_numbers = len(numbers) - numbers.null_count
    if is_text and n_numbers * 2 < len(values):
        n_read = {"": n_numbers, ISO: len(values) - _iso(values).null_count}
        if n_read[ISO] * 2 < len(values):
            patterns = [p if not order or order_of(p) in ("", order) else _swapped(p) for p in _PATTERNS]
            n_read |= {pattern: len(values) - _by_pattern(values, pattern).null_count for pattern in patterns}
        form = max(n_read, key=lambda form: n_read[form])
        if form:
            return form
    return _unit(values, numbers)


def _unit(values: pa.Array, numbers: pa.Array) -> str:
    """The unit that most of the numbers have the magnitude of; eight digits that are mostly dates are
    dates."""
    magnitudes = np.abs(numbers.drop_null().to_numpy(zero_copy_only=False))
    is_date = (magnitudes >= 19000101) & (magnitudes <= 21001231)
    if is_date.sum() * 2 > len(magnitudes) and not pa.types.is_floating(values.type):
        if _by_pattern(_text(values), COMPACT).null_count * 2 < len(values):
            return COMPACT
    n_of_unit = [((magnitudes >= low) & (magnitudes < high)).sum() for low, high in _MAGNITUDES.values()]
    return list(_MAGNITUDES)[int(np.argmax(n_of_unit))]


def seconds(values: pa.Array, form: str) -> pa.Array:
    """Unix seconds, null where a value is not a time in that form; at most 1e17, which is beyond any
    calendar."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return _floor(values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()), 10**6)
    if form in _PER_SECOND:
        whole = numbers_or_null(values, pa.int64()) if _is_text(values) else None
        if whole is not None and whole.null_count == values.null_count:
            return _floor(whole, _PER_SECOND[form])
        numbers = numbers_or_null(values, pa.float64()) if _is_text(values) else values.cast(pa.float64(), safe=False)
        scaled = pc.floor(pc.divide(numbers, float(_PER_SECOND[form])))
        bounded = pc.max_element_wise(pc.min_element_wise(scaled, _FURTHEST, skip_nulls=False), -_FURTHEST, skip_nulls=False)
        return pc.if_else(pc.is_finite(scaled), bounded, None).cast(pa.int64())
    text = _text(values)
    return _iso(text) if form == ISO else _by_pattern(text, form)


def numbers_or_null(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Text as numbers, null where it is none. Decimal only: Arrow would also take 0x1F for a whole number."""
    if pa.types.is_integer(kind):
        for letter in "xX":
            is_hex = pc.match_substring(values, letter)
            if pc.any(is_hex).as_py():
                values = pc.if_else(is_hex, None, values)
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        return cast_or_null(pc.utf8_trim_whitespace(values), kind)


def has_commas(values: pa.Array) -> bool:
    """Tell whether texts are numbers with a comma before their decimals, as in 3,5: most are numbers so, none has a point, and at least one
    has decimals that are not three, as the thousands of 1,000 are."""
    texts = pc.utf8_trim_whitespace(values)
    tails = "(,[0-9]+)?", ",([0-9]{1,2}|[0-9]{4,})", "[.][0-9]+"
    are_numbers, have_decimals, have_points = (pc.match_substring_regex(texts, f"^[+-]?[0-9]+{tail}$") for tail in tails)
    return bool(pc.any(have_decimals).as_py() and not pc.any(have_points).as_py() and 2 * pc.sum(are_numbers).as_py() > len(texts))


def with_points(values: pa.Array) -> pa.Array:
    """3,5 as 3.5."""
    return pc.replace_substring(values, ",", ".")


def cast_or_null(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Text cast, null where a value cannot be: the whole array at once, halves of it where that fails."""
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        if len(values) <= _BISECT_TO:
            return pa.concat_arrays([_one(values.slice(i, 1), kind) for i in range(len(values))])
    middle = len(values) // 2
    return pa.concat_arrays([cast_or_null(values.slice(0, middle), kind), cast_or_null(values.slice(middle), kind)])


def _one(value: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return value.cast(kind)
    except pa.ArrowInvalid:
        return pa.nulls(1, kind)


def _iso(text: pa.Array) -> pa.Array:
    """ISO 8601; what has no zone is UTC, as is what ends in the word."""
    if pc.any(pc.ends_with(text, "UTC")).as_py():
        text = pc.replace_substring_regex(text, r"([0-9])\s?UTC$", r"\1Z")
    is_zoned = pc.match_substring_regex(text, _ZONE)
    naive = _cast_where(pc.invert(is_zoned), text, pa.timestamp("us"))
    if naive.null_count == text.null_count:
        return naive
    read = pc.coalesce(naive, _cast_where(is_zoned, text, pa.timestamp("us", "UTC")))
    unread = pc.and_(read.is_null(), text.is_valid())
    if not pc.any(unread).as_py():
        return read
    rest = [_python_iso(value) for value in text.filter(unread).to_pylist()]
    return pc.replace_with_mask(read, unread, pa.array(rest, pa.int64()))


def _cast_where(mask: pa.Array, text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Seconds of the times where the mask holds, null elsewhere."""
    if not pc.all(mask).as_py():
        text = pc.if_else(mask, text, None)
    return _floor(cast_or_null(text, kind).cast(pa.int64()), 10**6)


def _python_iso(text: str) -> int | None:
    """Read what Arrow does not read of ISO 8601, such as more than six decimals or weeks."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        return None


def _by_pattern(text: pa.Array, pattern: str) -> pa.Array:
    """By strptime, which takes 31 February for 2 March: the day has to be the one that was written."""
    shape = "^" + re.sub("%.", lambda match: _SHAPES[match[0]], pattern.replace(".", r"\.")) + "$"
    shape = shape.replace("{1,2}", "{2}") if pattern == COMPACT else shape
    written = pc.extract_regex(text, shape)
    moments = pc.strptime(pc.if_else(written.is_valid(), text, None), format=pattern, unit="s", error_is_null=True)
    day = pc.struct_field(written, "day").cast(pa.int64())
    return pc.if_else(pc.equal(pc.day(moments), day), moments, None).cast(pa.int64())


def _floor(values: pa.Array, unit: int) -> pa.Array:
    if unit == 1:
        return values
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False) // unit
    return pa.array(numbers, pa.int64(), mask=values.is_null().to_numpy(zero_copy_only=False))


def _is_text(values: pa.Array) -> bool:
    return pa.types.is_string(values.type) or pa.types.is_large_string(values.type)


def _text(values: pa.Array) -> pa.Array:
    return values if _is_text(values) else values.cast(pa.string())
