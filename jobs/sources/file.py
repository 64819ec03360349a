"""A table in a file or several, or in a database: what every reader of rows offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

from jobs.sources.blocks import Block


class File(Protocol):
    """A table in a file or several. Refused rows are filed under the `name` of their part, with its line; `label` is for messages;
    `written` says how its values are written, where they are text, or how it is partitioned; `partitions` are the values that its folders
    give to all of its rows, of several files to those of the first; `digests` are of what is read beside the content of its `paths`."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def written(self) -> str: ...

    @property
    def paths(self) -> tuple[Path, ...]: ...

    @property
    def parts(self) -> Sequence[File]: ...

    @property
    def partitions(self) -> Mapping[str, str | None]: ...

    @property
    def digests(self) -> Mapping[str, str]: ...

    def blocks(self, columns: Mapping[str, str]) -> Iterator[Block]: ...

    def first_rows(self, columns: Mapping[str, str]) -> Block: ...

    def id_type(self, field: str, role: str) -> str | None: ...


class OnePiece:
    """A table that is read in one piece: it is its only part, no folder names a partition, and nothing beside its files is read."""

    @property
    def parts(self) -> tuple[Self, ...]:
        return (self,)

    @property
    def partitions(self) -> Mapping[str, str | None]:
        return MappingProxyType({})

    @property
    def digests(self) -> Mapping[str, str]:
        return MappingProxyType({})
