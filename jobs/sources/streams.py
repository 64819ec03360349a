"""Input files as streams of bytes: plain, gzip, bzip2, zstd or a member of a zip, told apart by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from schemas.errors import SourceError

GZIP, ZIP, PARQUET, BZIP2, ZSTD = b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"BZh", b"\x28\xb5\x2f\xfd"
_FOREIGN = {  # what pandas, a spreadsheet or a warehouse may have written, by its first bytes
    b"ARROW1": "an Arrow file (Feather)",
    b"FEA1": "a Feather file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\xd0\xcf\x11\xe0": "a workbook of a spreadsheet (xls)",
    b"<": "HTML or XML",
}
_WORKBOOKS = ("[Content_Types].xml", "mimetype")  # members of xlsx and of ods
_DAMAGED = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)


@dataclass(frozen=True)
class Input:
    """A file to read, or a member of a zip file. `name` is what refused rows are filed under."""

    path: Path
    member: str | None = None
    filed_as: str = ""

    @property
    def name(self) -> str:
        return self.filed_as or (Path(self.member).name if self.member else self.path.name)

    @property
    def label(self) -> str:
        """The name for messages, which have to find the file."""
        return f"{self.path}, member {self.member}" if self.member else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes, decompressed. What cannot be opened or unpacked is a SourceError."""
        if not self.path.is_file():
            raise SourceError(
                f"{self.path}: {'a folder' if self.path.is_dir() else 'no regular file' if self.path.exists() else 'no such file'}; expected a file to "
                "read"
            )
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive, self._opened(archive) as stream:
                    yield stream
            else:
                with _unpacked(self.path) as stream:
                    yield stream
        except _DAMAGED as error:
            raise SourceError(f"{self.label}: damaged or cut short ({error}); fetch the file again") from error
        except OSError as error:
            raise SourceError(f"{self.label}: cannot be read: {error.strerror or error}") from error

    def _opened(self, archive: zipfile.ZipFile) -> BinaryIO:
        try:
            return archive.open(self.member)
        except (
            RuntimeError,
            NotImplementedError,
        ) as error:  # encrypted, or packed in a way unknown to Python
            raise SourceError(f"{self.label}: cannot be unpacked: {error}") from None


def _unpacked(path: Path) -> BinaryIO:
    packed = magic(path)
    if packed == GZIP:
        return gzip.open(path)
    if packed == BZIP2:
        return bz2.open(path)
    return pa.input_stream(str(path), compression="zstd") if packed == ZSTD else path.open("rb")


def magic(path: Path) -> bytes:
    """GZIP, ZIP, PARQUET, BZIP2 or ZSTD for a file that begins so, b"" for any other. Raises SourceError if there is no
    file to read."""
    if path.exists() and not path.is_file():  # a pipe would be waited for, and read only once
        raise SourceError(f"{path}: {'a folder' if path.is_dir() else 'no regular file'}; expected a file")
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    return next((known for known in (GZIP, ZIP, PARQUET, BZIP2, ZSTD) if head.startswith(known)), b"")


def foreign(path: Path) -> str:
    """Say what a file is that is of a known kind and none that is read here; empty for any other."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                is_workbook = not set(_WORKBOOKS).isdisjoint(archive.namelist())
        except zipfile.BadZipFile:
            return "a zip"
        return "a workbook of a spreadsheet" if is_workbook else "a zip"
    return next((kind for known, kind in _FOREIGN.items() if head.startswith(known)), "")
