"""Files of rows: which reader a path needs, and several files that are one table."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.sources.blocks import Block
from jobs.sources.delimited import TOLD, with_header, Written
from jobs.sources.file import File
from jobs.sources.json_lines import is_json, open_json_lines
from jobs.sources.parquet import open_parquet
from jobs.sources.partitions import digests, partitioned
from jobs.sources.streams import foreign, Input, magic, PARQUET
from schemas.errors import SettingError, SourceError


@dataclass(frozen=True)
class Several:
    """Files with the same columns, read one after another. What the rows tell is told by the first rows of every file."""

    label: str
    parts: tuple[File, ...]

    @property
    def name(self) -> str:
        return Path(self.label).name

    @property
    def fields(self) -> tuple[str, ...]:
        return self.parts[0].fields

    @property
    def partitions(self) -> Mapping[str, str | None]:
        return self.parts[0].partitions

    @property
    def digests(self) -> Mapping[str, str]:
        return digests(self.parts)

    @property
    def written(self) -> str:
        ways = list(dict.fromkeys(part.written for part in self.parts))
        return f"{len(self.parts):,} files, {'; or '.join(ways)}"

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for part in self.parts for path in part.paths)

    def blocks(self, columns: Mapping[str, str]) -> Iterator[Block]:
        for part in self.parts:
            yield from part.blocks(columns)

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        blocks = [part.first_rows(columns) for part in self.parts]
        read = [block for block in blocks if len(block.lines)]
        if not read:
            return next((block for block in blocks if block.refused), blocks[0])
        merged = {name: pa.concat_arrays([block.columns[name] for block in read]) for name in columns}
        return Block(merged, np.concatenate([block.lines for block in read]), str, [])

    def id_type(self, field: str, role: str) -> str | None:
        return self.parts[0].id_type(field, role)


def open_file(path: Path, written: Written = TOLD) -> File:
    """A file of rows by its first bytes: Parquet, JSON lines or CSV, packed or not, CSV as it is said to be written. A folder, or a pattern such as sales/*.csv, is of
    files of one kind with the same columns; folders named as year=2024 are partitions. Raises SourceError for what is none of these."""
    paths = _paths(path)
    is_parquet = [magic(one) == PARQUET for one in paths]
    if any(is_parquet) and not all(is_parquet):
        other = paths[is_parquet.index(False)]
        raise SourceError(f"{path}: {paths[is_parquet.index(True)].name} is Parquet and {other.name} is not; expected files of one kind")
    folder = path if path.is_dir() else path.parent if path.exists() else Path(*path.parts[: _n_plain(path)])
    if any(is_parquet):
        check_nothing_said(paths[0], "Parquet", written)
        whole = open_parquet(paths, path)
        parts = partitioned(whole.files(), folder)
        return Several(str(path), parts) if parts[0].partitions else whole
    files = [_of_text(Input(one, filed_as=str(one.relative_to(folder))), written) for one in paths]
    for file in files:
        if set(file.fields) != set(files[0].fields):
            raise SourceError(f"{file.label}: its columns differ from those of {files[0].name}; expected files of one table")
    parts = partitioned(files, folder)
    return Several(str(path), parts) if len(parts) > 1 or parts[0].partitions else parts[0]


def check_nothing_said(path: Path | str, kind: str, written: Written) -> None:
    """Raises SettingError if a file is said to be written in a way that only CSV can be."""
    said = [name for name in ("delimiter", "encoding") if getattr(written, name)] + ["header"] * (not written.has_header)
    if said:
        raise SettingError(f"{said[0]}: {path} is {kind}; leave {' and '.join(said)} out, which say how CSV is written")


def _of_text(source: Input, written: Written) -> File:
    if said := foreign(source.path):
        remedy = "unpack it first" if said == "a zip" else "save it as one of these"
        raise SourceError(f"{source.path}: {said}; expected CSV or JSON lines, also packed by gzip, bzip2 or zstd, or Parquet: {remedy}")
    if is_json(source):
        check_nothing_said(source.path, "JSON lines", written)
        return open_json_lines(source)
    return with_header(source, written=written)


def _paths(path: Path) -> tuple[Path, ...]:
    """The files of a path, in the order of their names. In folders those that begin with a dot or an underscore are no data."""
    if path.is_dir():
        paths = [one for one in path.rglob("*") if one.is_file() and not any(p[0] in "._" for p in one.relative_to(path).parts)]
        missing = f"{path}: a folder without files of rows; expected CSV, JSON lines or Parquet"
    elif not path.exists() and glob.has_magic(str(path)):
        paths = [Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file()]
        missing = f"{path}: no file has a name like that"
    else:
        return (path,)
    if not paths:
        raise SourceError(missing)
    return tuple(sorted(paths))


def _n_plain(path: Path) -> int:
    """How many parts of a pattern come before the first that is one."""
    return next(n for n, part in enumerate(path.parts) if glob.has_magic(part))
