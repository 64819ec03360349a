"""The declarations hold together, and what is derived from them keeps every value."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from schemas.derive import arrow_schema, data_dictionary, datasette_tables, sqlite_ddl, sqlite_indexes
from schemas.tables import IdTypes, ITEM_ID, Table, TABLES, USER_ID
from tests.schemas.rows import in_memory, tables
from warehouse import parquet
from warehouse.sqlite_build import Builder

ID_TYPES = [IdTypes("int64", "int64"), IdTypes("string", "string"), IdTypes("int64", "string")]
ids = pytest.mark.parametrize("ids", ID_TYPES, ids=lambda ids: f"{ids.user_id}-{ids.item_id}")
OF_EACH_KIND = 25  # examples of a table for each of the kinds of ids
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@every_table
def test_a_declaration_holds_together(table: Table) -> None:
    columns = {column.name: column for column in table.columns}
    assert len(columns) == len(table.columns) and table.grain.startswith("one row per ")
    assert table.key and all(not columns[name].is_nullable for name in table.key)
    assert set(table.facets) <= columns.keys() and all(set(index) <= columns.keys() for index in table.indexes)
    for reference in table.references:
        target = TABLES[reference.table]
        assert target.key == (reference.target,) and columns[reference.column].type == target.columns[0].type
    for column in table.columns:
        assert len(column.description) > 5 and not column.description.endswith("."), column.name
        assert (column.type == USER_ID) == (column.name == "user_id") and (column.type != ITEM_ID or "item_id" in column.name)
        if column.minimum is not None and column.maximum is not None:
            assert column.minimum < column.maximum


def test_referenced_tables_are_declared_before_those_that_refer_to_them() -> None:
    order = list(TABLES)
    assert all(r.table == name or order.index(r.table) < order.index(name) for name, table in TABLES.items() for r in table.references)


@every_table
@ids
def test_sqlite_takes_the_ddl_and_keeps_the_order_of_the_key(table: Table, ids: IdTypes) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(sqlite_ddl(table, ids))
        for index in sqlite_indexes(table):
            connection.execute(index)
        described = connection.execute(f"pragma table_info({table.name})").fetchall()
        assert [row[1] for row in described] == table.names
        assert [row[1] for row in sorted((row for row in described if row[5]), key=lambda row: row[5])] == list(table.key)
        strict, without_rowid = connection.execute("select strict, wr from pragma_table_list where name = ?", [table.name]).fetchone()
        assert strict and without_rowid == (table.name != "items" and pa.binary() not in [column.type for column in table.columns])


@every_table
def test_every_column_is_described_wherever_it_is_shown(table: Table) -> None:
    shown = datasette_tables()[table.name]
    assert shown["description"] and shown["columns"].keys() == set(table.names) and all(shown["columns"].values())
    dictionary = data_dictionary()
    assert f"**`{table.name}`**" in dictionary and all(f"| `{name}` |" in dictionary for name in table.names)


@every_table
@ids
def test_rows_and_descriptions_survive_parquet(table: Table, ids: IdTypes, tmp_path) -> None:
    path, schema = tmp_path / "t.parquet", arrow_schema(table, ids)

    @settings(max_examples=OF_EACH_KIND)
    @given(tables(table, ids))
    def survives(rows: pa.Table) -> None:
        parquet.write(path, [rows], schema)
        found = parquet.read(path)
        assert found.equals(rows)
        assert found.schema.equals(in_memory(table, ids)) and pq.read_schema(path).equals(schema, check_metadata=False)
        assert pa.concat_tables(parquet.blocks(path)).equals(rows) if len(rows) else True
        assert {field.name: field.metadata[b"description"].decode() for field in found.schema} == {
            column.name: column.description for column in table.columns
        }
        assert found.schema.metadata[b"grain"].decode() == table.grain

    survives()


@ids
def test_rows_of_every_table_survive_sqlite(ids: IdTypes, tmp_path) -> None:
    path = tmp_path / "t.db"

    @settings(max_examples=OF_EACH_KIND)
    @given(st.fixed_dictionaries({name: tables(table, ids, max_size=3) for name, table in TABLES.items()}))
    def survive(rows: dict[str, pa.Table]) -> None:
        builder = Builder(path, ids)
        for name, table in TABLES.items():
            assert builder.add(table, [rows[name]]) == len(rows[name])
        builder.finish()
        with closing(sqlite3.connect(path)) as connection:
            for name, table in TABLES.items():
                found = connection.execute(f"select * from {name} order by {', '.join(table.key)}").fetchall()
                assert found == [tuple(row.values()) for row in rows[name].to_pylist()], name
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)

    survive()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "12", 12),
        ("int64", "-3", -3),
        ("int64", "0", 0),
        ("int64", "012", None),
        ("int64", "x", None),
        ("int64", "", None),
        ("int64", "1.0", None),
        ("int64", "9" * 30, None),
        ("int64", "9" * 5000, None),
        ("int64", "9223372036854775807", 2**63 - 1),
        ("int64", "9223372036854775808", None),
        ("int64", "-9223372036854775808", -(2**63)),
        ("int64", "-0", None),
        ("int64", "٣", None),
        ("string", "012", "012"),
        ("string", "a/b c", "a/b c"),
    ],
)
def test_an_id_from_outside_is_read_as_the_release_writes_it(kind: str, text: str, value) -> None:
    assert IdTypes(item_id=kind).parse("item_id", text) == value
