"""Partition columns: values that stand in the names of a table's folders, `year=2024/month=05`, as Hive, Spark and DuckDB write them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow as pa

from jobs.sources.blocks import Block
from jobs.sources.file import File
from jobs.sources.times import numbers_or_null, seconds, with_points
from schemas.errors import SourceError

NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Partition:
    """A file, and the values that its folders give to all of its rows. `partitions`: those values by name, text or None; a column that the file has itself
    is none of them."""

    file: File
    name: str
    partitions: Mapping[str, str | None]

    @property
    def label(self) -> str:
        return self.file.label

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.file.fields, *self.partitions)

    @property
    def written(self) -> str:
        return f"{self.file.written or 'Parquet'}, partitioned by {', '.join(self.partitions)}"

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.file.paths

    @property
    def parts(self) -> tuple[Partition, ...]:
        return (self,)

    @property
    def digests(self) -> dict[str, str]:
        return digests((self,))

    def blocks(self, columns: Mapping[str, str]) -> Iterator[Block]:
        for block in self.file.blocks(self._of_file(columns)):
            yield self._with_values(block, columns)

    def first_rows(self, columns: Mapping[str, str]) -> Block:
        return self._with_values(self.file.first_rows(self._of_file(columns)), columns)

    def id_type(self, field: str, role: str) -> str | None:
        """None for a value of the folders: as in CSV, only all of them tell whether they are whole numbers."""
        return None if field in self.partitions else self.file.id_type(field, role)

    def _of_file(self, columns: Mapping[str, str]) -> dict[str, str]:
        return {ours: theirs for ours, theirs in columns.items() if theirs not in self.partitions}

    def _with_values(self, block: Block, columns: Mapping[str, str]) -> Block:
        """Rows with the values of their folders, each column in its place."""
        of_folders = {
            ours: pa.repeat(pa.scalar(self.partitions[theirs], pa.string()), len(block.lines))
            for ours, theirs in columns.items()
            if theirs in self.partitions
        }
        return block._replace(columns=block.columns | of_folders)


def partitioned(files: Sequence[File], folder: Path) -> tuple[File, ...]:
    """The files of a folder with the values of their partitions, as they are where there are none. Raises SourceError where files
    have different ones."""
    found = [_values(file.paths[0], folder) for file in files]
    first = next((i for i, values in enumerate(found) if values), None)
    if first is None:
        return tuple(files)
    for file, values in zip(files, found):
        if set(values) != set(found[first]):
            raise SourceError(
                f"{file.label}: partitioned by {', '.join(values) or 'nothing'}; expected {', '.join(found[first])}, as "
                f"{files[first].label} is: name a folder whose files all are"
            )
    keys = [key for key in found[first] if key not in files[0].fields]
    if not keys:
        return tuple(files)
    return tuple(
        Partition(file, str(file.paths[0].relative_to(folder)), {key: values[key] for key in keys}) for file, values in zip(files, found)
    )


def check_values(file: File, columns: Mapping[str, str], *, time_form: str, commas: frozenset[str]) -> None:
    """Raises SourceError for a folder whose name gives all its rows a number or a time that is none."""
    for role in ("rating", "weight", "rated_at"):
        for part in file.parts:
            text = part.partitions.get(key := columns.get(role, ""))
            if text is None:
                continue
            value = pa.array([text])
            if role == "rated_at":
                read, expected = seconds(value, time_form), "a time, written as in the other folders"
            else:
                read, expected = numbers_or_null(with_points(value) if role in commas else value, pa.float64()), "a number"
            if read.null_count:
                raise SourceError(
                    f"{part.label}: its folder says {key}={text}, which cannot be read as {role}; expected {expected}: rename the folder, or "
                    "leave it out"
                )


def digests(files: Sequence[File]) -> dict[str, str]:
    """The digest of what the names of folders say, beside that of the files in them."""
    said = sorted(json.dumps(list(part.partitions.items())) for part in files if part.partitions)
    return {"names of partitions": hashlib.sha256("\n".join(said).encode()).hexdigest()} if said else {}


def _values(path: Path, folder: Path) -> dict[str, str | None]:
    """The values in the names of the folders between a folder and a file in it."""
    values: dict[str, str | None] = {}
    for name in path.relative_to(folder).parts[:-1]:
        key, equals, value = name.partition("=")
        if not (key and equals):
            continue
        key = _decoded(key, path)
        if key in values:
            raise SourceError(f"{path}: two of its folders name the partition {key!r}; expected one")
        values[key] = None if value == NULL else _decoded(value, path)
    return values


def _decoded(text: str, path: Path) -> str:
    """A name of a folder without its escapes, such as %20."""
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(
            f"{path}: the name of its folder, {text!r}, is no UTF-8; expected UTF-8 in its escapes: rename the folder"
        ) from None
