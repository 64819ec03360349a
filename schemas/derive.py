"""Schemas and documents derived from the table declarations: Arrow and Parquet, SQLite DDL, Datasette metadata, Markdown."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from schemas.tables import IdTypes, ITEM_ID, Table, TABLES, TIME, USER_ID

_SQLITE_TYPES = {
    pa.string(): "TEXT",
    pa.int64(): "INTEGER",
    pa.bool_(): "INTEGER",
    pa.float64(): "REAL",
    pa.binary(): "BLOB",
}


def arrow_type(kind: pa.DataType | str, ids: IdTypes) -> pa.DataType:
    """The type that a column has in memory and in SQLite, where times are Unix seconds."""
    return ids.arrow(kind) if kind in (USER_ID, ITEM_ID) else pa.int64() if kind == TIME else kind


def arrow_schema(table: Table, ids: IdTypes) -> pa.Schema:
    """The Parquet schema, each field with its description and the schema with the table's grain."""
    return pa.schema(
        [
            pa.field(c.name, TIME if c.type == TIME else arrow_type(c.type, ids), c.is_nullable, {"description": c.description})
            for c in table.columns
        ],
        {"table": table.name, "grain": table.grain, "key": ",".join(table.key)},
    )


def sqlite_type(kind: pa.DataType | str, ids: IdTypes) -> str:
    return _SQLITE_TYPES[arrow_type(kind, ids)]


def sqlite_ddl(table: Table, ids: IdTypes) -> str:
    """`create table`, STRICT and WITHOUT ROWID: rows are stored in key order.

    A table with blobs keeps its rowids: without them a tree has whole rows in its inner pages too, and long rows make it deep. So do
    the items, by whose rowids Datasette joins the full-text index of their titles.
    """
    lines = [f"  {c.name} {sqlite_type(c.type, ids)}{'' if c.is_nullable else ' not null'}" for c in table.columns]
    lines.append(f"  primary key ({', '.join(table.key)})")
    lines += [f"  foreign key ({r.column}) references {r.table} ({r.target})" for r in table.references]
    has_rowids = table.name == "items" or pa.binary() in [c.type for c in table.columns]
    options = "strict" if has_rowids else "strict, without rowid"
    return f"create table {table.name} (\n" + ",\n".join(lines) + f"\n) {options}"


def sqlite_indexes(table: Table) -> list[str]:
    return [f"create index {table.name}_{'_'.join(columns)} on {table.name} ({', '.join(columns)})" for columns in table.indexes]


def datasette_metadata(queries: dict[str, dict[str, str]], ids: IdTypes) -> dict[str, Any]:
    """Datasette's metadata for a release: described tables and columns, facets, full-text search, and the canned queries given."""
    tables = datasette_tables()
    tables["items"] |= {"fts_table": "items_fts", "fts_pk": "item_id" if ids.item_id == "int64" else "rowid"}
    return {
        "title": "CineMatch",
        "description": "Recommendations computed once a week, in the open, as rows.",
        "databases": {"cinematch": {"tables": tables, "queries": queries}},
    }


def datasette_tables() -> dict[str, dict[str, Any]]:
    """The `tables` block of Datasette's metadata: a description for every table and column, facets where they help."""
    return {
        table.name: {
            "description": f"{table.grain[0].upper()}{table.grain[1:]}.",
            "columns": {column.name: column.description for column in table.columns},
            **({"facets": list(table.facets)} if table.facets else {}),
        }
        for table in TABLES.values()
    }


def data_dictionary() -> str:
    """The data dictionary of schemas/README.md, as Markdown."""
    blocks = []
    for table in TABLES.values():
        rows = [
            f"| `{c.name}` | {_shown_type(c.type)}{', null' if c.is_nullable else ''} | {c.description.replace('|', chr(92) + '|')} |"
            for c in table.columns
        ]
        key = ", ".join(f"`{name}`" for name in table.key)
        blocks.append(f"**`{table.name}`**: {table.grain}. Key: {key}.\n\n| column | type | meaning |\n|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(blocks) + "\n"


def _shown_type(kind: pa.DataType | str) -> str:
    if kind in (USER_ID, ITEM_ID):
        return "id"
    if kind == TIME:
        return "integer; timestamp in Parquet"
    return {"string": "text", "int64": "integer", "bool": "boolean", "double": "real", "binary": "blob"}[str(kind)]
