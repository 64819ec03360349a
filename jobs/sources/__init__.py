"""Sources: where interactions and the item catalogue come from, read into checked Arrow batches.

A source reads its files in blocks, refuses the rows that cannot be used, and hands over the rest in one form.
Nothing is held in memory beyond a block, and no row becomes a Python object unless it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TYPE_CHECKING

import pyarrow as pa

from schemas.derive import arrow_schema
from schemas.tables import IdTypes, QUARANTINE

if TYPE_CHECKING:
    from jobs.sources.users import Attributes

QUARANTINE_SCHEMA = arrow_schema(QUARANTINE, IdTypes())


class Batch(NamedTuple):
    """One block of an interactions file.

    accepted: columns user_id, item_id (int64 or string), rating (float64, all null for implicit feedback),
    weight (float64, > 0), rated_at (int64 Unix seconds, null where there is none), line (int64, of the file;
    grows). refused: rows of the quarantine table. n_read = accepted + refused rows; n_expired: rows besides, older than
    retention keeps.
    """

    accepted: pa.Table
    refused: pa.Table
    n_read: int
    n_expired: int = 0


class Catalogue(NamedTuple):
    """The item catalogue. items: item_id (int64 or string), title, year (int64, null), genres and tags
    (joined by |), description (null), one row an item; refused: rows of the quarantine table, those of a file
    of tags among them; n_read: items and refused rows."""

    items: pa.Table
    refused: pa.Table
    n_read: int


class Source(Protocol):
    """A readable input. `inputs` are the files whose digest identifies it, `digests` those of what is read beside their content, by name, once
    the interactions are read; `rating_scale` is None for
    implicit feedback; `read_as` says how a file was understood where it does not say so itself, by name; an id type is None if only the data can tell (text that may turn out to be whole
    numbers throughout)."""

    name: str
    inputs: tuple[Path, ...]
    rating_scale: tuple[float, float] | None
    user_id_type: str | None
    item_id_type: str | None
    read_as: Mapping[str, str]
    digests: Mapping[str, str]

    def interactions(self) -> Iterator[Batch]: ...

    def catalogue(self) -> Catalogue: ...

    def users(self) -> Iterator[Attributes]: ...
