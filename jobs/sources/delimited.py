"""The one reader of delimited files: header, blocks of rows, line numbers as an editor shows them."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.sources.blocks import Block, Dialect, first_with_rows, parse
from jobs.sources.records import count_fields
from jobs.sources.streams import Input
from schemas.errors import SourceError

BLOCK_BYTES = 16 * 2**20
FIRST_BYTES = 4 * 2**20  # of rows from which what a file does not say of itself is told
MAX_LINE_BYTES = 64 * 2**20
UTF_8, UTF_16 = "utf-8", "utf-16"
_DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Delimited:
    """A delimited file. `fields`: the names of its columns, from the header or given; `first_line`: where
    rows begin."""

    input: Input
    dialect: Dialect
    fields: tuple[str, ...]
    first_line: int = 1

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def label(self) -> str:
        return self.input.label

    @property
    def written(self) -> str:
        return f"{self.dialect.encoding}, fields delimited by {self.dialect.delimiter!r}"

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.input.path,)

    @property
    def parts(self) -> tuple[Delimited, ...]:
        return (self,)

    def id_type(self, field: str, role: str) -> None:
        return None

    def position(self, field: str, role: str) -> int:
        """Where a column stands. Raises SourceError where there is none of that name, or several."""
        found = [i for i, name in enumerate(self.fields) if name == field]
        if len(found) != 1:
            problem = "no column" if not found else f"{len(found)} columns"
            raise SourceError(f"{self.input.label}: {problem} {field!r} (for {role}); the file has: {', '.join(self.fields)}")
        return found[0]

    def blocks(self, columns: Mapping[str, str], *, block_bytes: int | None = None) -> Iterator[Block]:
        """The rows, block after block. `columns`: our name of each wanted column to the file's."""
        wanted = {ours: self.position(theirs, ours) for ours, theirs in columns.items()}
        size = block_bytes or BLOCK_BYTES
        with self.input.open() as stream:
            chunks = decoded(iter(lambda: stream.read(size), b""), self.dialect.encoding, self.input)
            rest, line, skip = b"", 1, self.first_line - 1
            for chunk, is_last in marked_last(chunks):
                data = rest + chunk
                cut = len(data) if is_last else data.rfind(b"\n") + 1
                body, rest = data[:cut], data[cut:]
                while skip and body:
                    end = body.find(b"\n") + 1 or len(body)
                    body, line, skip = body[end:], line + 1, skip - 1
                if body:
                    try:
                        block, used = parse(body, self.dialect, list(self.fields), wanted, line, is_last)
                    except SourceError as error:
                        raise SourceError(f"{self.input.label}: {error}") from None
                    rest, line = body[used:] + rest, line + body.count(b"\n", 0, used)
                    if block.n_read:
                        yield block
                if len(rest) > MAX_LINE_BYTES + size:
                    raise SourceError(
                        f"{self.input.label}: line {line} is longer than {MAX_LINE_BYTES >> 20} MiB; not a delimited text file"
                    )

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        """The rows of the first few MiB that have any; without rows a block with those that were refused."""
        return first_with_rows(self.blocks(columns, block_bytes=FIRST_BYTES))


def with_header(source: Input, dialect: Dialect | None = None) -> Delimited:
    """A file whose first line names its columns. Without a dialect the delimiter is the commonest in that
    line."""
    encoding = dialect.encoding if dialect else encoding_of(source)
    with source.open() as stream:
        chunks = decoded(iter(lambda: stream.read(2**16), b""), encoding, source)
        head = b""
        for chunk in chunks:
            head += chunk
            if b"\n" in head.lstrip(b"\r\n") or len(head) > MAX_LINE_BYTES:
                break
    lines = head.split(b"\n")
    n_blank = next((i for i, line in enumerate(lines) if line.strip()), None)
    if n_blank is None:
        raise SourceError(f"{source.label}: empty; expected a line that names the columns, then one row a line")
    header = lines[n_blank].rstrip(b"\r")
    if b"\0" in header:
        raise SourceError(f"{source.label}: not text (the first line holds zero bytes); expected CSV in UTF-8, or Parquet")
    if dialect is None:
        n_fields = {d: count_fields(header, d.encode()) or 1 for d in _DELIMITERS}
        dialect = Dialect(max(_DELIMITERS, key=lambda d: n_fields[d]), encoding=encoding)
    text = header.decode("utf-8", errors="backslashreplace")
    fields = next(csv.reader([text], delimiter=dialect.delimiter)) if dialect.has_quotes else text.split(dialect.delimiter)
    return Delimited(source, dialect, tuple(field.strip() for field in fields), n_blank + 2)


def without_header(source: Input, dialect: Dialect, fields: tuple[str, ...]) -> Delimited:
    """A file that begins with a row. Raises SourceError where it is empty."""
    with source.open() as stream:
        if not stream.read(1):
            raise SourceError(f"{source.label}: empty; expected rows of {', '.join(fields)} delimited by {dialect.delimiter!r}")
    return Delimited(source, dialect, fields)


def encoding_of(source: Input) -> str:
    """UTF-16 for a file that begins with its byte order mark, as spreadsheets write it, else UTF-8."""
    with source.open() as stream:
        return UTF_16 if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else UTF_8


def decoded(chunks: Iterator[bytes], encoding: str, source: Input) -> Iterator[bytes]:
    """Chunks as UTF-8 with line feeds: without a byte order mark, lone carriage returns as line ends where
    there is nothing else."""
    is_first, is_mac = True, False
    for chunk in chunks if encoding == UTF_8 else _as_utf_8(chunks, encoding, source):
        if is_first:
            if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # of a format that says what it is in
                raise SourceError(f"{source.label}: in UTF-16; expected UTF-8: save it so")
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            is_mac = b"\r" in chunk[:-1] and b"\n" not in chunk
            is_first = False
        if is_mac:
            chunk = chunk.replace(b"\r", b"\n")
        yield chunk


def _as_utf_8(chunks: Iterator[bytes], encoding: str, source: Input) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk, is_last in marked_last(chunks):
            yield decoder.decode(chunk, is_last).encode(UTF_8)
    except UnicodeError as error:
        raise SourceError(f"{source.label}: damaged or cut short, no {encoding}: {error}") from None


def marked_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each chunk, and after them an empty one that is marked as the last."""
    for chunk in chunks:
        yield chunk, False
    yield b"", True
