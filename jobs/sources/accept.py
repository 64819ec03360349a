"""Acceptance of rows as interactions: each column checked at once, and for each row that fails the first reason,
in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, UTC

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Batch, ids, QUARANTINE_SCHEMA
from jobs.sources.blocks import Block, Refusal
from jobs.sources.times import numbers_or_null, seconds, with_points
from schemas.errors import SettingError, SourceError

OFF_SCALE = "is off the scale"


@dataclass(frozen=True)
class Rules:
    """The rules that the rows of one source have to keep to. `source` is the name that refused rows are filed under; an
    id type of None keeps text as it is; `time_form` is one of `times`; nothing may be later than `latest`; `floats` are
    the ids that are written as 196.0; `commas` are the numbers that are written as 3,5; what is before `earliest` is neither accepted nor refused."""

    source: str
    latest: datetime
    user_id_type: str | None = None
    item_id_type: str | None = None
    rating_scale: tuple[float, float] | None = None
    time_form: str = ""
    floats: frozenset[str] = frozenset()
    earliest: datetime | None = None
    commas: frozenset[str] = frozenset()


class Sieve:
    """The rows of one block that are still good, and the reasons of those that are not."""

    def __init__(self, block: Block, floats: frozenset[str] = frozenset(), commas: frozenset[str] = frozenset()) -> None:
        self.block, self.floats, self.commas = block, floats, commas
        self.is_good = np.ones(len(block.lines), dtype=bool)
        self.reasons: dict[int, str] = {}

    def refuse(self, is_bad: pa.Array | np.ndarray, reason: Callable[[int], str]) -> None:
        """Drops the rows that are bad and were good so far."""
        bad = is_bad if isinstance(is_bad, np.ndarray) else is_bad.fill_null(True).to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(bad & self.is_good):
            self.reasons[int(i)] = reason(int(i))
        self.is_good &= ~bad

    def text(self, name: str) -> pa.Array:
        """A column as text; rows whose bytes are not UTF-8 are refused and null."""
        values = self.block.columns[name]
        if not pa.types.is_binary(values.type) and not pa.types.is_large_binary(values.type):
            return values.cast(pa.string())
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            unchecked = pc.cast(values, pa.string(), safe=False)
        suspects = np.flatnonzero(pc.invert(pc.string_is_ascii(unchecked)).to_numpy(zero_copy_only=False))
        bad = np.zeros(len(values), dtype=bool)
        bad[[int(i) for i in suspects if not _is_utf8(values[int(i)].as_py())]] = True
        self.refuse(bad, lambda i: f"{name} is not UTF-8")
        return pc.if_else(pa.array(~bad), values, None).cast(pa.string())

    def id(self, name: str, kind: str | None) -> pa.Array:
        """Ids, whole numbers or trimmed text; empty ones are refused, as is what is no whole number where one
        is declared."""
        values = self.block.columns[name]
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            self.refuse(values.is_null(), lambda i: f"{name} is empty")
            return self._whole(name, values)
        if kind == "int64":
            text = self.text(name)
            numbers = numbers_or_null(text, pa.int64())
            if numbers.null_count:
                self.refuse(pc.equal(pc.utf8_trim_whitespace(text), ""), lambda i: f"{name} is empty")
                self.refuse(numbers.is_null(), lambda i: f"{name} '{text[i]}' is not a whole number")
            return numbers
        text = pc.utf8_trim_whitespace(self.text(name))
        if name in self.floats:
            text = pc.replace_substring_regex(text, ids.FLOAT, r"\1")
        self.refuse(pc.equal(text, ""), lambda i: f"{name} is empty")
        self.refuse(pc.match_substring(text, "\0"), lambda i: f"{name} holds a zero byte")
        return text

    def number(self, name: str) -> pa.Array:
        """Finite numbers; anything else is refused."""
        values = self.block.columns[name]
        if pa.types.is_binary(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            text = self.text(name)
            numbers = numbers_or_null(with_points(text) if name in self.commas else text, pa.float64())
            if numbers.null_count:
                self.refuse(pc.equal(pc.utf8_trim_whitespace(text), "").fill_null(True), lambda i: f"{name} is empty")
                self.refuse(numbers.is_null(), lambda i: f"{name} '{text[i]}' is not a number")
        else:
            numbers = values.cast(pa.float64())
            self.refuse(numbers.is_null(), lambda i: f"{name} is empty")
        self.refuse(pc.is_nan(numbers), lambda i: f"{name} is NaN")
        self.refuse(pc.is_inf(numbers), lambda i: f"{name} is infinite")
        return numbers

    def rating(self, scale: tuple[float, float]) -> pa.Array:
        ratings = self.number("rating")
        low, high = scale
        is_off = pc.or_(pc.less(ratings, low), pc.greater(ratings, high))
        self.refuse(is_off, lambda i: f"rating {ratings[i].as_py():g} {OFF_SCALE} {low:g} to {high:g}")
        return ratings

    def weight(self) -> pa.Array:
        weights = self.number("weight")
        self.refuse(
            pc.less_equal(weights, 0),
            lambda i: f"weight {weights[i].as_py():g} is not positive (a cancellation?)",
        )
        return weights

    def rated_at(self, form: str, latest: datetime) -> pa.Array:
        values = self.block.columns["rated_at"]
        raw = self.text("rated_at") if pa.types.is_binary(values.type) else values
        moments = seconds(raw, form)

        def shown(i: int) -> str:
            """The day, or the value as read where no calendar reaches."""
            try:
                return f"{datetime.fromtimestamp(moments[i].as_py(), UTC):%Y-%m-%d}"
            except (ValueError, OverflowError, OSError):
                return f"'{raw[i]}'"

        if moments.null_count:
            texts = raw if pa.types.is_string(raw.type) else raw.cast(pa.string())
            is_empty = pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(True)
            self.refuse(is_empty, lambda i: "rated_at is empty")
            self.refuse(moments.is_null(), lambda i: f"rated_at '{texts[i]}' is not a time")
        self.refuse(pc.less(moments, 0), lambda i: f"rated_at {shown(i)} is before 1970-01-01")
        self.refuse(
            pc.greater(moments, math.floor(latest.timestamp())),
            lambda i: f"rated_at {shown(i)} is after {latest:%Y-%m-%d} (in the future)",
        )
        return moments

    def leave_out(self, is_out: np.ndarray) -> int:
        """Drops rows without a reason; returns how many."""
        self.is_good &= ~is_out
        self.reasons = {i: reason for i, reason in self.reasons.items() if not is_out[i]}
        return int(is_out.sum())

    def refusals(self) -> list[Refusal]:
        """The refused rows, those without columns among them, by line."""
        refused = [(int(self.block.lines[i]), self.block.text(i), reason) for i, reason in self.reasons.items()]
        return sorted(refused + self.block.refused)

    def _whole(self, name: str, values: pa.Array) -> pa.Array:
        """Whole numbers of a typed column: floats are what pandas makes of whole numbers with gaps."""
        if pa.types.is_floating(values.type):
            is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**53))
            self.refuse(pc.invert(is_whole), lambda i: f"{name} '{values[i]}' is not a whole number")
            values = pc.if_else(is_whole, values, None)
        elif values.type == pa.uint64():
            is_small = pc.less(values, pa.scalar(2**63, pa.uint64()))
            self.refuse(pc.invert(is_small), lambda i: f"{name} {values[i]} is larger than {2**63 - 1}")
            values = pc.if_else(is_small, values, None)
        return values.cast(pa.int64())


def accept(block: Block, rules: Rules) -> Batch:
    """One block as interactions. Every row of it is either accepted or refused."""
    sieve, has = Sieve(block, rules.floats, rules.commas), block.columns
    n = len(block.lines)
    user_ids = sieve.id("user_id", rules.user_id_type)
    item_ids = sieve.id("item_id", rules.item_id_type)
    if "rating" in has and rules.rating_scale is None:
        raise SourceError(f"{rules.source}: a rating column without a scale; set rating_scale, such as 1:5")
    columns = {
        "user_id": user_ids,
        "item_id": item_ids,
        "rating": sieve.rating(rules.rating_scale) if "rating" in has else pa.nulls(n, pa.float64()),
        "weight": sieve.weight() if "weight" in has else pa.array(np.ones(n)),
        "rated_at": sieve.rated_at(rules.time_form, rules.latest) if "rated_at" in has else pa.nulls(n, pa.int64()),
        "line": pa.array(block.lines, pa.int64()),
    }
    n_expired = sieve.leave_out(_is_before(columns["rated_at"], rules)) if rules.earliest else 0
    accepted = pa.table(columns)
    if not sieve.is_good.all():
        accepted = accepted.filter(pa.array(sieve.is_good))
    return Batch(accepted, quarantine(rules.source, sieve.refusals()), block.n_read - n_expired, n_expired)


def _is_before(moments: pa.Array, rules: Rules) -> np.ndarray:
    """Tell which rows are older than retention keeps. Raises SettingError if a source cannot tell."""
    if moments.null_count == len(moments) > 0 and not rules.time_form:
        raise SettingError(f"retention_days: {rules.source} has no times; set it to 0, or name the column of times as rated_at in columns")
    is_old = pc.and_(pc.less(moments, math.floor(rules.earliest.timestamp())), pc.greater_equal(moments, 0))
    return is_old.fill_null(False).to_numpy(zero_copy_only=False)


def quarantine(source: str, refusals: list[Refusal]) -> pa.Table:
    """Refused rows as rows of the quarantine table."""
    lines, texts, reasons = zip(*refusals, strict=True) if refusals else ((), (), ())
    return pa.table([[source] * len(refusals), lines, texts, reasons], schema=QUARANTINE_SCHEMA)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
