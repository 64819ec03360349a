"""A file of text with a row a line: its bytes as UTF-8, and what its readers have in common."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.sources.blocks import Block, first_with_rows
from jobs.sources.file import OnePiece
from jobs.sources.streams import Input
from schemas.errors import SourceError

BLOCK_BYTES = 16 * 2**20
FIRST_BYTES = 4 * 2**20  # of rows from which what a file does not say of itself is told
MAX_LINE_BYTES = 64 * 2**20
UTF_8, UTF_16, WINDOWS = "utf-8", "utf-16", "cp1252"
_MARKS_OF_UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
_WINDOWS = "".join(bytes([byte]).decode(WINDOWS, "ignore") or chr(byte) for byte in range(256))  # five are undefined, and stay apart


@dataclass(frozen=True)
class TextFile(OnePiece, ABC):
    """One file of text. Its ids are text until all of them are seen."""

    input: Input

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def label(self) -> str:
        return self.input.label

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.input.path,)

    def id_type(self, field: str, role: str) -> None:
        return None

    @abstractmethod
    def blocks(self, columns: Mapping[str, str], *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield the rows, block after block. `columns`: our name of each wanted column to the file's."""

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        """Return the rows of the first few MiB that have any; without rows a block with those that were refused."""
        return first_with_rows(self.blocks(columns, block_bytes=FIRST_BYTES))


def encoding_of(source: Input) -> str:
    """UTF-16 for a file that begins with its byte order mark, as spreadsheets write it, else UTF-8."""
    with source.open() as stream:
        return UTF_16 if stream.read(2) in _MARKS_OF_UTF_16 else UTF_8


def encoding_of_csv(source: Input) -> str:
    """Tell UTF-16 by its byte order mark, and Windows-1252, which holds Latin-1, by first few MiB that are not UTF-8. A file with the mark of
    UTF-8, with zero bytes, or with at least as many characters of UTF-8 beyond ASCII as stray bytes is UTF-8, with bad rows."""
    with source.open() as stream:
        start = stream.read(FIRST_BYTES)
    if start.startswith(_MARKS_OF_UTF_16):
        return UTF_16
    if start.isascii() or start.startswith(codecs.BOM_UTF8) or b"\0" in start:
        return UTF_8
    text = codecs.getincrementaldecoder(UTF_8)("replace").decode(start, len(start) < FIRST_BYTES)
    n_lost = text.count("\ufffd")
    n_read = len(text) - len(text.encode("ascii", "ignore")) - n_lost
    return WINDOWS if n_lost > n_read else UTF_8


def said_of(encoding: str) -> str:
    """An encoding in words."""
    return f"{encoding} (it is not UTF-8)" if encoding == WINDOWS else encoding


def decoded(chunks: Iterator[bytes], encoding: str, source: Input) -> Iterator[bytes]:
    """Chunks as UTF-8 with line feeds: without a byte order mark, lone carriage returns as line ends where
    there is nothing else."""
    is_first, is_mac = True, False
    for chunk in chunks if encoding == UTF_8 else _as_utf_8(chunks, encoding, source):
        if is_first:
            if chunk.startswith(_MARKS_OF_UTF_16):  # of a format that says what it is in
                raise SourceError(f"{source.label}: in UTF-16; expected UTF-8: save it so")
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            is_mac = b"\r" in chunk[:-1] and b"\n" not in chunk
            is_first = False
        if is_mac:
            chunk = chunk.replace(b"\r", b"\n")
        yield chunk


def _as_utf_8(chunks: Iterator[bytes], encoding: str, source: Input) -> Iterator[bytes]:
    if encoding == WINDOWS:
        yield from (codecs.charmap_decode(chunk, "strict", _WINDOWS)[0].encode(UTF_8) for chunk in chunks)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk, is_last in marked_last(chunks):
            yield decoder.decode(chunk, is_last).encode(UTF_8)
    except UnicodeError as error:
        raise SourceError(f"{source.label}: damaged or cut short, no {encoding}: {error}") from None


def marked_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each chunk, the last one marked, so that a line without an end belongs to its rows; an empty one where there is none."""
    before = next(chunks, b"")
    for chunk in chunks:
        yield before, False
        before = chunk
    yield before, True
