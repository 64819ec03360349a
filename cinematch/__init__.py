"""A release from Python: its tables as Arrow, SQL over them, and a list for any history.

>>> import cinematch
>>> with cinematch.open("data") as release:
...     lists = release.table("recommendations")
...     films = release.sql("select title from items where year = :year", year=1994)
...     found = release.recommend([(71, 5.0), (198, 3.5), (43, 4.5)], n=10)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from jobs.kernels.lists import Lists
from jobs.staging.item_side import recommender_of
from schemas.derive import arrow_schema
from schemas.errors import CineMatchError, NotFound, UsageError
from schemas.manifest import Manifest
from schemas.tables import RECOMMENDATIONS, TABLES
from warehouse import duck
from warehouse.layout import Warehouse
from warehouse.overlay import Entry, visitor_history
from warehouse.release import named, read_manifest

__all__ = ["CineMatchError", "Release", "open"]

LISTED = tuple(column.name for column in RECOMMENDATIONS.columns if column.name not in ("user_id", "model_rank"))


def open(path: str | Path, *, release: str = "current") -> Release:
    """Open a release of the warehouse in a folder. `release` is an id, `current` or `latest`. Raises NotFound if there is none,
    ReleaseError if it is damaged."""
    return Release(Warehouse(Path(path)), release)


class Release:
    """A sealed release, opened to be read. Users who asked to be forgotten are in none of its tables."""

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        self.id: str = named(warehouse, name)
        self._warehouse = warehouse
        self._files = warehouse.sealed(self.id)
        self.manifest: Manifest = read_manifest(self._files)
        self._connection = duck.connect(warehouse, self.id)

    def __repr__(self) -> str:
        return f"<Release {self.id}, lists by {self.manifest.served_model}>"

    def __enter__(self) -> Release:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to DuckDB. Tables that were read stay."""
        self._connection.close()

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(TABLES)

    def table(self, name: str) -> pa.Table:
        """Return a table, whole. Raises NotFound if there is none of this name."""
        if name not in TABLES:
            raise NotFound(f"table {name!r}: release {self.id} has {', '.join(TABLES)}")
        return self.sql(f"select * from {name}")  # nosec B608  # one of our own tables

    def sql(self, query: str, **values: Any) -> pa.Table:
        """Return the rows of a query of DuckDB. values: those of its parameters, each written `:name` or `$name`. Besides the tables of
        this release there are `releases.<table>`, of every sealed one, and `releases.served`. Raises UsageError if it cannot be
        answered, ReleaseError if a file of it is damaged."""
        try:
            relation = self._connection.sql(duck.parameters(query)[0], params=values)
            table = None if relation is None else relation.to_arrow_table()
        except duckdb.Error as error:
            raise duck.damage(self._warehouse, self.id, error) or UsageError(f"sql: {error}") from None
        if table is None:
            raise UsageError("sql: expected a query that has rows, as `select * from items`")
        return table

    def recommend(self, history: Iterable[Any], *, n: int | None = None) -> pa.Table:
        """Return the list that a user of this history gets, the best first.

        history: item ids, or pairs of an item id and a rating, the oldest first; an id without a rating is an event. Items that the
        release does not know count for nothing, and a history that is shorter than `min_history` gets popular items. n: rows of
        the list, by default as many as the stored lists have. The columns are those of `recommendations` but for the user and the rank
        before re-ranking. Raises UsageError if an id, a rating or n cannot be one, ReleaseError if a file of a model is missing or
        damaged.
        """
        if n is not None and (type(n) is not int or n < 0):
            raise UsageError(f"n: expected a whole number of rows, 0 or more, got {n!r}")
        recommender = recommender_of(self._files, self.manifest)
        entries = [self._entry(place, given) for place, given in enumerate(history)]
        rows = visitor_history(entries, is_implicit=self.manifest.rating_scale is None)
        return self._listed(recommender.lists(recommender.history(rows), n=n, explain_n=0), recommender.item_ids)

    def _entry(self, place: int, given: Any) -> Entry:
        pair = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        item, rating = (value.item() if isinstance(value, np.generic) else value for value in pair)
        kind, scale = str if self.manifest.id_types.item_id == "string" else int, self.manifest.rating_scale
        if type(item) is not kind or isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise UsageError(f"history, row {place}: expected an item id of type {kind.__name__}, as those of this release, got {item!r}")
        if rating is not None and scale is None:
            raise UsageError(f"history, row {place}: expected no rating, because this release learns from interactions, got {rating!r}")
        if rating is not None and scale is not None and not (type(rating) in (int, float) and scale[0] <= rating <= scale[1]):
            raise UsageError(f"history, row {place}: expected a rating from {scale[0]:g} to {scale[1]:g}, got {rating!r}")
        return Entry(place + 1, "", item, None if rating is None else float(rating), 1.0, place if self._has_times else 0, 0)

    @cached_property
    def _has_times(self) -> bool:
        return bool(self.sql("select count(first_rated_at) > 0 as known from users")["known"][0].as_py())

    def _listed(self, lists: Lists, item_ids: np.ndarray) -> pa.Table:
        columns = lists.named_columns(item_ids, self.manifest.served_model)
        schema = arrow_schema(RECOMMENDATIONS, self.manifest.id_types)
        fields = [schema.field(name) for name in LISTED]
        return pa.table([pa.array(columns[field.name], field.type, from_pandas=True) for field in fields], pa.schema(fields))
