"""The reader of JSON lines: one object a line, its values as text, in blocks of rows with their line numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.sources.blocks import Block, Refusal, shown
from jobs.sources.streams import Input
from jobs.sources.text import BLOCK_BYTES, decoded, encoding_of, FIRST_BYTES, marked_last, MAX_LINE_BYTES, TextFile
from schemas.errors import SourceError

_LINE = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)  # numbers as they are written


@dataclass(frozen=True)
class JsonLines(TextFile):
    """A file of one object a line. `fields`: the keys of its first rows."""

    fields: tuple[str, ...]
    encoding: str

    @property
    def written(self) -> str:
        return f"JSON lines in {self.encoding}"

    def blocks(self, columns: Mapping[str, str], *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """The rows, block after block. `columns`: our name of each wanted column to the file's key; a key that a row lacks is empty."""
        for lines, first_line in _lines(self.input, self.encoding, block_bytes):
            block = _block(lines, first_line, columns)
            if block.n_read:
                yield block


def is_json(source: Input) -> bool:
    """Whether a file begins with an object. Raises SourceError for one that begins with an array of them."""
    with source.open() as stream:
        start = stream.read(2**12).decode(encoding_of(source), "ignore").lstrip("\ufeff \t\r\n")
    if start.startswith("[") and start[1:].lstrip().startswith("{"):
        raise SourceError(f"{source.label}: a JSON array; expected one object a line: jq -c '.[]' writes it so")
    return start.startswith("{")


def open_json_lines(source: Input) -> JsonLines:
    """A file of one object a line. Raises SourceError if its first rows hold none."""
    encoding = encoding_of(source)
    for lines, _ in _lines(source, encoding, FIRST_BYTES):
        rows = [row for line in lines if isinstance(row := _parsed(line), dict)]
        if len(rows) == 1 and len(rows[0]) > 1 and all(isinstance(value, dict | list) for value in rows[0].values()):
            raise SourceError(
                f"{source.label}: one JSON object of columns; expected one object a line: pandas' to_json(orient='records', lines=True) "
                "writes it so"
            )
        keys = dict.fromkeys(key for row in rows for key in row)
        if keys:
            return JsonLines(source, tuple(keys), encoding)
        break
    raise SourceError(f"{source.label}: its first rows are no JSON objects; expected one object a line")


def _lines(source: Input, encoding: str, block_bytes: int) -> Iterator[tuple[list[bytes], int]]:
    """Lines, some at a time, and the number of the first."""
    rest, line = b"", 1
    with source.open() as stream:
        for chunk, is_last in marked_last(decoded(iter(partial(stream.read, block_bytes), b""), encoding, source)):
            data = rest + chunk
            cut = len(data) if is_last else data.rfind(b"\n") + 1
            body, rest = data[:cut], data[cut:]
            if body:
                lines = body.split(b"\n")
                yield lines, line
                line += len(lines) - 1
            if len(rest) > MAX_LINE_BYTES + block_bytes:
                raise SourceError(f"{source.label}: line {line} is longer than {MAX_LINE_BYTES >> 20} MiB; not a file of JSON lines")


def _block(lines: list[bytes], first_line: int, columns: Mapping[str, str]) -> Block:
    rows, numbers, texts = [], [], []
    refused: list[Refusal] = []
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        row = _parsed(line)
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
            texts.append(line)
        else:
            refused.append((number, shown(line.rstrip(b"\r")), row if isinstance(row, str) else "is no object"))
    arrays = {ours: pa.array([_text(row.get(theirs)).encode() for row in rows], pa.binary()) for ours, theirs in columns.items()}
    return Block(arrays, np.array(numbers, np.int64), lambda i: shown(texts[i].rstrip(b"\r")), refused)


def _parsed(line: bytes) -> Any:
    """The value of a line, in a list where it is no object; for what is no JSON, why."""
    try:
        value, end = _LINE.raw_decode(text := line.decode().strip())
    except UnicodeDecodeError:
        return "is not UTF-8"
    except json.JSONDecodeError as error:
        return f"is no JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return "is no JSON: too deep"
    if text[end:].strip():
        return "is no JSON: more than one value"
    return value if isinstance(value, dict) else [value]


def _text(value: Any) -> str:
    """A value as a field of text: nothing for null, what is in a list joined by |."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    return json.dumps(value, ensure_ascii=False)
