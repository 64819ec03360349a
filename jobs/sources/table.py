"""Interactions in a file or several, CSV, JSON lines or Parquet, or in a database, with or without ratings, and the file of their
items where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from jobs.sources import Batch, Catalogue
from jobs.sources.accept import accept, Rules
from jobs.sources.catalogue import ATTRIBUTES, empty, from_interactions, from_items
from jobs.sources.columns import chosen, OF_INTERACTIONS, OF_ITEMS, REQUIRED
from jobs.sources.file import File
from jobs.sources.files import open_file
from jobs.sources.partitions import check_values
from jobs.sources.told import floats_of_ids, told
from jobs.sources.users import Attributes, attributes, columns_of_users
from schemas.errors import SettingError, SourceError


@dataclass(frozen=True)
class Table:
    """A table of interactions. `columns` and `item_columns`: our names to the files'; `floats` and `item_floats`: the ids that
    each writes as 196.0."""

    file: File
    columns: Mapping[str, str]
    rating_scale: tuple[float, float] | None
    time_form: str
    latest: datetime
    items: File | None = None
    item_columns: Mapping[str, str] = field(default_factory=dict)
    floats: frozenset[str] = frozenset()
    item_floats: frozenset[str] = frozenset()
    read_as: Mapping[str, str] = field(default_factory=dict)
    name: str = "table"
    earliest: datetime | None = None
    commas: frozenset[str] = frozenset()
    user_file: File | None = None
    user_columns: Mapping[str, str] = field(default_factory=dict)
    user_floats: frozenset[str] = frozenset()

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.file.paths + (self.items.paths if self.items else ()) + (self.user_file.paths if self.user_file else ())

    @property
    def digests(self) -> Mapping[str, str]:
        return self.file.digests

    @property
    def user_id_type(self) -> str | None:
        return self._id_type("user_id")

    @property
    def item_id_type(self) -> str | None:
        return self._id_type("item_id")

    def interactions(self) -> Iterator[Batch]:
        columns = {ours: theirs for ours, theirs in self.columns.items() if ours in OF_INTERACTIONS}
        is_by_user = columns["user_id"] in self.file.partitions  # files are then numbered: no name of one is to name a user
        for number, part in enumerate(self.file.parts, 1):
            rules = Rules(
                f"{self.file.name}, file {number}" if is_by_user else part.name,
                self.latest,
                self.user_id_type,
                self.item_id_type,
                self.rating_scale,
                self.time_form,
                self.floats,
                self.earliest,
                self.commas,
            )
            for block in part.blocks(columns):
                yield accept(block, rules)

    def catalogue(self) -> Catalogue:
        if self.items:
            return from_items(self.items.blocks(self.item_columns), self.items.name, self.item_id_type, self.item_floats)
        columns = {ours: theirs for ours, theirs in self.columns.items() if ours in ("item_id", *ATTRIBUTES)}
        if len(columns) == 1:
            return empty(self.item_id_type)
        return from_interactions(self.file.blocks(columns), self.item_id_type, self.floats)

    def users(self) -> Iterator[Attributes]:
        if self.user_file:
            yield from attributes(self.user_file, self.user_columns, self.user_id_type, self.user_floats)

    def _id_type(self, role: str) -> str | None:
        return self.file.id_type(self.columns[role], role)


def open_table(
    path: Path | File,
    *,
    latest: datetime,
    columns: str = "",
    items: Path | None = None,
    item_columns: str = "",
    users: Path | None = None,
    user_columns: str = "",
    rating_scale: tuple[float, float] | None = None,
    date_format: str = "",
    decimal: str = "",
) -> Table:
    """A table of interactions, at a path or opened already. What it does not say, the rating scale and how times and ids are written, its
    first rows tell."""
    file = open_file(path) if isinstance(path, Path) else path
    allowed = OF_INTERACTIONS if items else (*OF_INTERACTIONS, *ATTRIBUTES)
    mapping = chosen(columns, "columns", allowed, REQUIRED, file.fields, file.label)
    if not columns:  # year=2024 is when something was rated, not a year of the item
        mapping = {ours: theirs for ours, theirs in mapping.items() if ours in OF_INTERACTIONS or theirs not in file.partitions}
    _check_unique(file, mapping)
    if rating_scale and "rating" not in mapping:
        raise SettingError(
            f"rating_scale: {file.label} has no rating column; name one with columns, such as rating=NAME, or leave the scale out"
        )
    traits = told(file, mapping, rating_scale=rating_scale, date_format=date_format, decimal=decimal)
    check_values(file, mapping, time_form=traits.time_form, commas=traits.commas)
    table = Table(
        file, mapping, traits.rating_scale, traits.time_form, latest, floats=traits.floats, commas=traits.commas, read_as=traits.read_as
    )
    if users is None and user_columns:
        raise SettingError("user_columns: names columns of a file of users, and users names none")
    if users is not None:
        table = _with_users(table, open_file(users), user_columns)
    if items is None:
        if item_columns:
            raise SettingError("item_columns: names columns of a file of items, and items names none")
        return table
    catalogue = open_file(items)
    if len(catalogue.parts) > 1:
        raise SourceError(f"items: {catalogue.label} is {len(catalogue.parts):,} files; expected one, in which an item has one row")
    item_mapping = chosen(item_columns, "item_columns", OF_ITEMS, ("item_id",), catalogue.fields, catalogue.label)
    _check_unique(catalogue, item_mapping)
    left_out = ", ".join(name for name in catalogue.fields if name not in item_mapping.values())
    read_as = {"item_columns": ", ".join(f"{o}={t}" for o, t in item_mapping.items()), "items_left_out": left_out or "no column"}
    if catalogue.written:
        read_as["items_file"] = catalogue.written
    return replace(
        table,
        items=catalogue,
        item_columns=item_mapping,
        item_floats=floats_of_ids(catalogue, item_mapping, "item_id"),
        read_as={**table.read_as, **read_as},
    )


def _with_users(table: Table, file: File, columns: str) -> Table:
    mapping = columns_of_users(columns, file)
    _check_unique(file, mapping)
    left_out = ", ".join(name for name in file.fields if name not in mapping.values())
    read_as = {"user_columns": ", ".join(f"{o}={t}" for o, t in mapping.items()), "users_left_out": left_out or "no column"}
    if file.written:
        read_as["users_file"] = file.written
    floats = floats_of_ids(file, mapping, "user_id")
    return replace(table, user_file=file, user_columns=mapping, user_floats=floats, read_as={**table.read_as, **read_as})


def _check_unique(file: File, mapping: Mapping[str, str]) -> None:
    for ours, theirs in mapping.items():
        if file.fields.count(theirs) > 1:
            raise SourceError(f"{file.label}: {file.fields.count(theirs)} columns are called {theirs!r} (for {ours}); expected one")
