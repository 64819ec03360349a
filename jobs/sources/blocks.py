r"""Delimited text cut into rows: which lines are rows, which columns they have, and which cannot be read and
why.

A block is a run of whole lines. Arrow parses it in one go, and that is the whole story where every line with
something on it gave one row. Where it did not, the lines are looked at: good ones are parsed again together,
bad ones refused.

    1,10,4.5          row, line 1
                      no row, but line 2
    1,"a ""b"", c",3  row, line 3: a quoted comma, doubled quotes
    1,10              refused, line 4: expected 3 fields, got 2
    1,"two\n lines",3 row, line 5: a quoted field may span lines if it closes properly; the next row is line 7
    1,"10,3           refused, line 7: a stray quote costs its own line and no other
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jobs.sources.records import count_fields
from schemas.errors import SourceError

MAX_RECORD_LINES = 1000

Refusal = tuple[int, str, str]
"""Line, text and reason of a refused row."""


@dataclass(frozen=True)
class Dialect:
    """The form of a delimited file. With `has_quotes` a field may stand in double quotes, a quote in it
    doubled."""

    delimiter: str = ","
    has_quotes: bool = True
    encoding: str = "utf-8"


class Block(NamedTuple):
    """Rows of one block, before their values are looked at. columns: binary for text, typed for Parquet;
    lines: int64, of each row; text(i): row i as read; refused: the rows that have no columns."""

    columns: dict[str, pa.Array]
    lines: np.ndarray
    text: Callable[[int], str]
    refused: list[Refusal]

    @property
    def n_read(self) -> int:
        return len(self.lines) + len(self.refused)


def first_with_rows(blocks: Iterable[Block]) -> Block:
    """The first block with rows; without any, the first with refused ones, and no columns."""
    refused: list[Refusal] = []
    for block in blocks:
        if len(block.lines):
            return block
        refused = refused or block.refused
    return Block({}, np.array([], np.int64), str, refused)


def shown(raw: bytes) -> str:
    r"""Bytes as text to store; what is not UTF-8 as \xNN."""
    return raw.decode("utf-8", errors="backslashreplace")


def parse(body: bytes, dialect: Dialect, names: list[str], wanted: dict[str, int], first_line: int, is_last: bool) -> tuple[Block, int]:
    """The rows of `body`, whole lines of which the first is `first_line`, and how many bytes of it were used:
    all of it unless a quoted field is still open at its end and more is to come. `wanted` gives each column's
    position."""
    separator = dialect.delimiter.encode()
    if len(separator) > 1:
        single = next((bytes([b]) for b in (31, 30, 29, 28, *range(1, 9)) if bytes([b]) not in body), None)
        if single is None:
            raise SourceError(f"line {first_line} and on: control characters throughout; not a file delimited by {dialect.delimiter!r}")
        body, separator = body.replace(separator, single), single
    lines = _Lines(body, separator, dialect, len(names))
    columns = lines.all_at_once(wanted)
    refused: list[Refusal] = []
    used = len(body)
    if columns is None:
        refused, used = lines.one_by_one(first_line, is_last)
        columns = lines.kept(wanted)
    starts, ends = lines.starts[lines.rows], lines.row_ends[lines.rows]

    def text(i: int) -> str:
        return shown(lines.body[starts[i] : ends[i]].strip(b"\r")).replace(separator.decode(), dialect.delimiter)

    used += (len(dialect.delimiter) - 1) * lines.body.count(separator, 0, used)
    return Block(columns, lines.rows + first_line, text, refused), used


class _Lines:
    """The lines of a block. rows: positions of the lines that are (the first of) a row."""

    def __init__(self, body: bytes, separator: bytes, dialect: Dialect, n_fields: int) -> None:
        self.body, self.separator, self.dialect, self.n_fields = body, separator, dialect, n_fields
        self.bytes = np.frombuffer(body, dtype=np.uint8)
        newlines = np.flatnonzero(self.bytes == 10)
        if len(body) and body[-1:] != b"\n":
            newlines = np.append(newlines, len(body))
        self.row_ends = self.ends = newlines
        self.starts = np.concatenate([[0], newlines[:-1] + 1]).astype(np.int64) if len(newlines) else newlines
        is_blank = self.starts == self.ends
        if b"\r" in body:
            is_return = ~is_blank & (self.bytes[self.starts * ~is_blank] == 13)
            for i in np.flatnonzero(is_return & (self.ends - self.starts < 16)):
                is_blank[i] = not body[self.starts[i] : self.ends[i]].strip(b"\r")
        self.rows = np.flatnonzero(~is_blank)

    def all_at_once(self, wanted: dict[str, int]) -> dict[str, pa.Array] | None:
        """The columns if every line that is not blank is one row, else None."""
        if not len(self.rows):
            return {name: pa.array([], pa.binary()) for name in wanted}
        if b"\r" in self.body:
            returns = np.flatnonzero(self.bytes[:-1] == 13)
            if (self.bytes[returns + 1] != 10).any():
                return None
        if self.dialect.has_quotes and b'"' in self.body:
            last = self.rows[-1]
            if not count_fields(self.body[self.starts[last] : self.ends[last]].rstrip(b"\r"), self.separator):
                return None
        return self._parsed(self.body, wanted, len(self.rows))

    def one_by_one(self, first_line: int, is_last: bool) -> tuple[list[Refusal], int]:
        """Keeps the lines that are rows and refuses the rest."""
        separators = np.flatnonzero(self.bytes == self.separator[0])
        n_fields = np.searchsorted(separators, self.ends) - np.searchsorted(separators, self.starts) + 1
        is_suspect = n_fields != self.n_fields
        if self.dialect.has_quotes:
            is_suspect |= self._holds(34)
        is_suspect |= self._holds(13, but_last=True)
        is_row = np.zeros(len(self.starts), dtype=bool)
        is_row[self.rows] = ~is_suspect[self.rows]
        self.is_plain = is_row.copy()
        self.row_ends = self.ends.copy()
        refused: list[Refusal] = []
        free = 0
        for i in self.rows[is_suspect[self.rows]]:
            if i < free:
                continue
            line = self.body[self.starts[i] : self.ends[i]].rstrip(b"\r")
            reason, last = self._judge(int(i), line)
            if last is None and not is_last and len(self.starts) - i < MAX_RECORD_LINES:
                is_row[i:] = False
                self.rows = np.flatnonzero(is_row)
                return refused, int(self.starts[i])
            if reason is None:
                is_row[i + 1 : last + 1] = False
                is_row[i], self.row_ends[i], free = True, self.ends[last], last + 1
            else:
                text = shown(line).replace(self.separator.decode(), self.dialect.delimiter)
                refused.append((first_line + int(i), text, reason))
        self.rows = np.flatnonzero(is_row)
        return refused, len(self.body)

    def kept(self, wanted: dict[str, int]) -> dict[str, pa.Array]:
        """The columns of the rows kept by `one_by_one`."""
        if not len(self.rows):
            return {name: pa.array([], pa.binary()) for name in wanted}
        starts, ends = self.starts[self.rows], self.row_ends[self.rows] + 1
        is_gap = starts[1:] != ends[:-1]
        runs = zip(starts[np.append(True, is_gap)], ends[np.append(is_gap, True)], strict=True)
        columns = self._parsed(b"".join(self.body[a:b] for a, b in runs), wanted, len(self.rows))
        if columns is None:
            raise SourceError(f"{len(self.rows)} lines cannot be told apart; expected fields delimited by {self.dialect.delimiter!r}")
        return columns

    def _holds(self, byte: int, *, but_last: bool = False) -> np.ndarray:
        """Whether each line holds the byte; `but_last` leaves the end of a line out."""
        places = np.flatnonzero(self.bytes == byte)
        if but_last and len(places):
            after = np.append(self.bytes, 10)[places + 1]
            places = places[(after != 10) & (after != 13)]
        return np.searchsorted(places, self.ends) > np.searchsorted(places, self.starts)

    def _judge(self, i: int, line: bytes) -> tuple[str | None, int | None]:
        """Why line i is no row (None if it is one), and the last line of its record (None if that is further
        on)."""
        if not self.dialect.has_quotes:
            if b"\r" in line:
                return "a carriage return inside the line", i
            return f"expected {self.n_fields} fields, got {line.count(self.separator) + 1}", i
        n = count_fields(line, self.separator)
        if n == self.n_fields:
            return None, i
        if n is not None:
            return (
                f"expected {self.n_fields} fields, got {n}" if n else "a carriage return inside the line",
                i,
            )
        last = i
        for last in range(i + 1, min(i + MAX_RECORD_LINES, len(self.starts))):
            if self.body.find(b'"', self.starts[last], self.ends[last]) < 0:
                continue
            record = self.body[self.starts[i] : self.ends[last]].rstrip(b"\r")
            n = count_fields(record, self.separator, is_strict=True)
            if n == self.n_fields and self._is_one_text(i, last):
                return None, last
            if n is not None:
                return "a quote is not closed", i
        return "a quote is not closed", None if last + 1 == len(self.starts) else i

    def _is_one_text(self, first: int, last: int) -> bool:
        """Whether the lines between read as text, and not as rows that two stray quotes stand around."""
        between = self.is_plain[first + 1 : last]
        return not len(between) or between.mean() < 0.5

    def _parsed(self, body: bytes, wanted: dict[str, int], n_rows: int) -> dict[str, pa.Array] | None:
        """The wanted columns as Arrow reads them, or None if it does not find exactly `n_rows` rows."""
        names = [str(i) for i in range(self.n_fields)]
        chosen = list(dict.fromkeys(str(position) for position in wanted.values()))
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(body),
                pyarrow.csv.ReadOptions(use_threads=False, block_size=len(body) + 64, column_names=names),
                pyarrow.csv.ParseOptions(
                    delimiter=self.separator.decode(),
                    quote_char='"' if self.dialect.has_quotes else False,
                    newlines_in_values=n_rows < len(self.starts),
                ),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(chosen, pa.binary()), include_columns=chosen),
            )
        except pa.ArrowInvalid:  # a row with too few or too many fields
            return None
        if table.num_rows != n_rows:
            return None
        return {name: table.column(str(position)).combine_chunks() for name, position in wanted.items()}
