"""The one reader of delimited files: header, blocks of rows, line numbers as an editor shows them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.sources.blocks import Block, Dialect, parse
from jobs.sources.records import count_fields
from jobs.sources.streams import Input
from jobs.sources.text import BLOCK_BYTES, decoded, encoding_of_csv, marked_last, MAX_LINE_BYTES, said_of, TextFile
from schemas.errors import SourceError

_DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Written:
    """How a delimited file is written, as far as that is said: its delimiter and encoding, empty where they are to be told from the file, and
    whether its first line names the columns."""

    delimiter: str = ""
    encoding: str = ""
    has_header: bool = True


TOLD = Written()  # by the file


@dataclass(frozen=True)
class Delimited(TextFile):
    """A delimited file. `fields`: the names of its columns, from the header or given; `first_line`: where
    rows begin."""

    dialect: Dialect
    fields: tuple[str, ...]
    first_line: int = 1

    @property
    def written(self) -> str:
        names = "" if self.first_line > 1 else ", no line that names the columns"
        return f"{said_of(self.dialect.encoding)}, fields delimited by {self.dialect.delimiter!r}{names}"

    def position(self, field: str, role: str) -> int:
        """Where a column stands. Raises SourceError if there is none of that name, or several."""
        places = [i for i, name in enumerate(self.fields) if name == field]
        if len(places) != 1:
            problem = "no column" if not places else f"{len(places)} columns"
            raise SourceError(f"{self.input.label}: {problem} {field!r} (for {role}); the file has: {', '.join(self.fields)}")
        return places[0]

    def blocks(self, columns: Mapping[str, str], *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """The rows, block after block. `columns`: our name of each wanted column to the file's."""
        wanted = {ours: self.position(theirs, ours) for ours, theirs in columns.items()}
        with self.input.open() as stream:
            chunks = decoded(iter(lambda: stream.read(block_bytes), b""), self.dialect.encoding, self.input)
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
                if len(rest) > MAX_LINE_BYTES + block_bytes:
                    raise SourceError(
                        f"{self.input.label}: line {line} is longer than {MAX_LINE_BYTES >> 20} MiB; not a delimited text file"
                    )


def with_header(source: Input, dialect: Dialect | None = None, written: Written = TOLD) -> Delimited:
    """A file whose first line names its columns, or whose columns are called 1, 2, 3. Without a dialect the encoding is told from its
    beginning, and the delimiter is the commonest in that line, but for what is said of how it is written."""
    encoding = dialect.encoding if dialect else written.encoding or encoding_of_csv(source)
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
        dialect = Dialect(written.delimiter or max(_DELIMITERS, key=lambda d: n_fields[d]), encoding=encoding)
    text = header.decode("utf-8", errors="backslashreplace")
    fields = next(csv.reader([text], delimiter=dialect.delimiter)) if dialect.has_quotes else text.split(dialect.delimiter)
    if not written.has_header:
        return Delimited(source, dialect, tuple(str(place) for place in range(1, len(fields) + 1)), n_blank + 1)
    return Delimited(source, dialect, tuple(field.strip() for field in fields), n_blank + 2)


def without_header(source: Input, dialect: Dialect, fields: tuple[str, ...]) -> Delimited:
    """A file that begins with a row. Raises SourceError if it is empty."""
    with source.open() as stream:
        if not stream.read(1):
            raise SourceError(f"{source.label}: empty; expected rows of {', '.join(fields)} delimited by {dialect.delimiter!r}")
    return Delimited(source, dialect, fields)
