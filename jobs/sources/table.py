"""Any file of interactions, CSV (gzip too) or Parquet, with or without ratings, and the file of its items
where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Batch, Catalogue, scales, times
from jobs.sources.accept import accept, Rules
from jobs.sources.blocks import Block
from jobs.sources.catalogue import ATTRIBUTES, empty, from_interactions, from_items, readable
from jobs.sources.columns import chosen, OF_INTERACTIONS, OF_ITEMS, REQUIRED
from jobs.sources.delimited import Delimited, first_rows, with_header
from jobs.sources.parquet import open_parquet, Parquet
from jobs.sources.streams import Input, magic, PARQUET, ZIP
from schemas.errors import SettingError, SourceError

_N_FIRST = 2**16


@dataclass(frozen=True)
class Table:
    """One file of interactions. `columns` and `item_columns`: our names to the files'."""

    file: Delimited | Parquet
    columns: Mapping[str, str]
    rating_scale: tuple[float, float] | None
    time_form: str
    latest: datetime
    items: Delimited | Parquet | None = None
    item_columns: Mapping[str, str] = field(default_factory=dict)
    name: str = "table"

    @property
    def inputs(self) -> tuple[Path, ...]:
        return _paths(self.file) + (_paths(self.items) if self.items else ())

    @property
    def user_id_type(self) -> str | None:
        return self._id_type("user_id")

    @property
    def item_id_type(self) -> str | None:
        return self._id_type("item_id")

    def interactions(self) -> Iterator[Batch]:
        rules = Rules(
            _name(self.file),
            self.latest,
            self.user_id_type,
            self.item_id_type,
            self.rating_scale,
            self.time_form,
        )
        columns = {ours: theirs for ours, theirs in self.columns.items() if ours in OF_INTERACTIONS}
        for block in self.file.blocks(columns):
            yield accept(block, rules)

    def catalogue(self) -> Catalogue:
        if self.items:
            return from_items(self.items.blocks(self.item_columns), _name(self.items), self.item_id_type)
        columns = {ours: theirs for ours, theirs in self.columns.items() if ours in ("item_id", *ATTRIBUTES)}
        if len(columns) == 1:
            return empty(self.item_id_type)
        return from_interactions(self.file.blocks(columns), self.item_id_type)

    def _id_type(self, role: str) -> str | None:
        return self.file.id_type(self.columns[role], role) if isinstance(self.file, Parquet) else None


def open_table(
    path: Path,
    *,
    latest: datetime,
    columns: str = "",
    items: Path | None = None,
    item_columns: str = "",
    rating_scale: tuple[float, float] | None = None,
) -> Table:
    """A file of interactions. What it does not say, the rating scale and how times are written, its first
    rows tell."""
    file = open_file(path)
    allowed = OF_INTERACTIONS if items else (*OF_INTERACTIONS, *ATTRIBUTES)
    mapping = chosen(columns, "columns", allowed, REQUIRED, file.fields, file_label(file))
    _check_unique(file, mapping)
    if rating_scale and "rating" not in mapping:
        raise SettingError(
            f"rating_scale: {file_label(file)} has no rating column; name one with columns, such as "
            "rating=NAME, or leave the scale out"
        )
    told = {ours: theirs for ours, theirs in mapping.items() if ours in ("rating", "rated_at")}
    first = _first_rows(file, told or {"item_id": mapping["item_id"]})
    if first.refused and not len(first.lines):
        line, _, reason = first.refused[0]
        raise SourceError(f"{file_label(file)}: no row can be read; the first, line {line}: {reason}")
    if not len(first.lines):
        raise SourceError(
            f"{file_label(file)}: no row below the names of the columns; expected one interaction a row"
        )
    if "rating" in mapping and rating_scale is None:
        rating_scale = scales.told(_numbers(first.columns["rating"]))
        if rating_scale is None:
            raise SourceError(
                f"{file_label(file)}: no rating is a number in column {mapping['rating']!r}; first: "
                f"{_shown(first.columns['rating'])}"
            )
    time_form = _time_form(first.columns["rated_at"]) if "rated_at" in mapping else ""
    if items is None:
        if item_columns:
            raise SettingError("item_columns: names columns of a file of items, and items names none")
        return Table(file, mapping, rating_scale, time_form, latest)
    catalogue = open_file(items)
    item_mapping = chosen(
        item_columns, "item_columns", OF_ITEMS, ("item_id",), catalogue.fields, file_label(catalogue)
    )
    _check_unique(catalogue, item_mapping)
    return Table(file, mapping, rating_scale, time_form, latest, catalogue, item_mapping)


def open_file(path: Path) -> Delimited | Parquet:
    """CSV, gzip or Parquet by its first bytes; a folder is of Parquet parts."""
    if path.is_dir():
        return open_parquet(path)
    kind = magic(path)
    if kind == ZIP:
        raise SourceError(f"{path}: a zip; expected CSV, gzip or Parquet: unpack it first")
    return open_parquet(path) if kind == PARQUET else with_header(Input(path))


def file_label(file: Delimited | Parquet) -> str:
    return file.label if isinstance(file, Parquet) else file.input.label


def _name(file: Delimited | Parquet) -> str:
    return file.name if isinstance(file, Parquet) else file.input.name


def _paths(file: Delimited | Parquet) -> tuple[Path, ...]:
    return file.parts if isinstance(file, Parquet) else (file.input.path,)


def _check_unique(file: Delimited | Parquet, mapping: Mapping[str, str]) -> None:
    for ours, theirs in mapping.items():
        if file.fields.count(theirs) > 1:
            raise SourceError(
                f"{file_label(file)}: {file.fields.count(theirs)} columns are called {theirs!r} (for "
                f"{ours}); expected one"
            )


def _first_rows(file: Delimited | Parquet, columns: Mapping[str, str]) -> Block:
    if isinstance(file, Delimited):
        return first_rows(file, columns)
    none = Block({}, np.array([], np.int64), str, [])
    return next((block for block in file.blocks(columns, block_rows=_N_FIRST) if len(block.lines)), none)


def _numbers(values: pa.Array) -> np.ndarray:
    if pa.types.is_binary(values.type) or pa.types.is_string(values.type):
        values = times.numbers_or_null(readable(values), pa.float64())
    return values.drop_null().cast(pa.float64()).to_numpy(zero_copy_only=False)


def _time_form(values: pa.Array) -> str:
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return ""
    if pa.types.is_binary(values.type) or pa.types.is_string(values.type):
        values = readable(values)
        values = values.filter(pc.not_equal(values, ""))
    return times.told(values)


def _shown(values: pa.Array) -> str:
    return ", ".join(repr(value) for value in readable(values.slice(0, 3)).to_pylist())
