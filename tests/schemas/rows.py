"""Rows of any table, drawn from its declaration alone."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import strategies as st

from schemas.derive import arrow_schema, arrow_type
from schemas.tables import Column, IdTypes, Table, TIME

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def values(column: Column, ids: IdTypes) -> st.SearchStrategy:
    """Values that the column's type, bounds and choices allow."""
    kind = arrow_type(column.type, ids)
    if column.choices:
        drawn = st.sampled_from(column.choices)
    elif kind == pa.string():
        drawn = TEXT
    elif kind == pa.binary():
        drawn = st.binary(max_size=40)
    elif kind == pa.bool_():
        drawn = st.booleans()
    elif column.type == TIME:
        drawn = st.integers(0, 253_402_300_799)  # the last second of the year 9999
    elif kind == pa.int64():
        low = -(2**63) if column.minimum is None else int(column.minimum)
        drawn = st.integers(low, 2**63 - 1 if column.maximum is None else int(column.maximum))
    else:
        drawn = st.floats(column.minimum, column.maximum, allow_nan=False, allow_infinity=False)
    return st.none() | drawn if column.is_nullable else drawn


def in_memory(table: Table, ids: IdTypes) -> pa.Schema:
    """The schema of a file, with times as Unix seconds."""
    schema = arrow_schema(table, ids)
    return pa.schema([field.with_type(arrow_type(column.type, ids)) for field, column in zip(schema, table.columns)], schema.metadata)


def tables(table: Table, ids: IdTypes, *, max_size: int = 8) -> st.SearchStrategy[pa.Table]:
    """Tables in key order, each key once."""
    rows = st.lists(
        st.fixed_dictionaries({column.name: values(column, ids) for column in table.columns}),
        max_size=max_size,
        unique_by=lambda row: tuple(row[name] for name in table.key),
    )

    def built(found: list[dict]) -> pa.Table:
        in_order = sorted(found, key=lambda row: tuple(_sortable(row[name]) for name in table.key))
        return pa.Table.from_pylist(in_order, schema=in_memory(table, ids))

    return rows.map(built)


def _sortable(value):
    """Text by its bytes, as Arrow and SQLite order it."""
    return value.encode() if isinstance(value, str) else value
