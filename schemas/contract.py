"""The data contract of a release, in the Open Data Contract Standard 3.1 (https://bitol-io.github.io/open-data-contract-standard/).

It says what every release of a version promises of its tables: columns, types, keys, bounds, references. All of it is derived from
`schemas.tables`; VERSION alone is written here, and its first number goes up when something promised goes away or gets narrower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from schemas.checks import Check, declared_checks
from schemas.derive import arrow_type
from schemas.tables import Column, IdTypes, ITEM_ID, Table, TABLES, TIME, USER_ID

VERSION = "1.0.0"
FILE = "contract.odcs.yaml"
_LOGICAL = {"int64": "integer", "double": "number", "string": "string", "bool": "boolean", "binary": "string"}
_PHYSICAL = {"int64": "BIGINT", "double": "DOUBLE", "string": "VARCHAR", "bool": "BOOLEAN", "binary": "BLOB"}
_TIME = ("timestamp", "TIMESTAMP")

Contract = dict[str, Any]


def contract(ids: IdTypes) -> Contract:
    """The contract of releases whose ids are of these types."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "cinematch-release",
        "name": "CineMatch release",
        "version": VERSION,
        "status": "active",
        "description": {
            "purpose": "Recommendations computed once a week, each with the reasons that sum to its score.",
            "usage": "One Parquet file a table, and the same rows in cinematch.db; a release never changes once it is sealed.",
            "limitations": "Scores order one user's list and mean nothing across users.",
        },
        "servers": [{"server": "release", "type": "local", "path": "tables/{model}.parquet", "format": "parquet"}],
        "schema": [_table(table, ids) for table in TABLES.values()],
        "slaProperties": [
            {"property": "frequency", "value": 7, "unit": "d", "description": "a release a week, by the schedule of its DAG"}
        ],
    }


def _table(table: Table, ids: IdTypes) -> Contract:
    return {
        "name": table.name,
        "physicalName": table.name,
        "logicalType": "object",
        "physicalType": "table",
        "dataGranularityDescription": table.grain,
        "properties": [_column(table, column, ids) for column in table.columns],
        "quality": [_rule(name, check) for name, check in declared_checks(_without_bounds_of_times(table)).items()],
    }


def _column(table: Table, column: Column, ids: IdTypes) -> Contract:
    kind = str(arrow_type(column.type, ids))
    logical, physical = _TIME if column.type == TIME else (_LOGICAL[kind], _PHYSICAL[kind])
    entry: Contract = {
        "name": column.name,
        "logicalType": logical,
        "physicalType": physical,
        "description": column.description,
        "required": not column.is_nullable,
    }
    if column.name in table.key:
        entry |= {"primaryKey": True, "primaryKeyPosition": table.key.index(column.name) + 1}
    if column.type in (USER_ID, ITEM_ID):
        entry["customProperties"] = [{"property": "idOf", "value": str(column.type).removesuffix("_id")}]
    if logical in ("integer", "number"):
        bounds = {name: value for name, value in (("minimum", column.minimum), ("maximum", column.maximum)) if value is not None}
        entry |= {"logicalTypeOptions": bounds} if bounds else {}
    return entry


def _without_bounds_of_times(table: Table) -> Table:
    """A table whose times have no bounds: those are of Unix seconds, and Parquet has timestamps."""
    columns = [replace(column, minimum=None, maximum=None) if column.type == TIME else column for column in table.columns]
    return replace(table, columns=tuple(columns))


def _rule(name: str, check: Check) -> Contract:
    """A check as a rule: it counts the rows that break it."""
    counted = f"select count(*) from ({check.query}) as broken"  # nosec B608  # a check of schemas
    return {"type": "sql", "name": name, "query": counted, "mustBe": 0, "severity": check.severity}


def differences(old: Contract, new: Contract) -> Iterator[tuple[bool, str]]:
    """Say what the new contract has otherwise, and whether that breaks who relied on the old one: something is gone, of another type, may
    be null, or has other keys or wider bounds. The types of ids are the source's, and no part of the promise."""
    before, after = _by_name(old["schema"]), _by_name(new["schema"])
    for name in before.keys() - after.keys():
        yield True, f"{name} is gone"
    for name in after.keys() - before.keys():
        yield False, f"{name} is new"
    for name in before.keys() & after.keys():
        yield from _of_columns(name, _by_name(before[name]["properties"]), _by_name(after[name]["properties"]))


def _of_columns(table: str, before: dict[str, Contract], after: dict[str, Contract]) -> Iterator[tuple[bool, str]]:
    for name in before.keys() - after.keys():
        yield True, f"{table}.{name} is gone"
    for name in after.keys() - before.keys():
        yield False, f"{table}.{name} is new"
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        is_id = "customProperties" in one and "customProperties" in other
        if one["logicalType"] != other["logicalType"] and not is_id:
            yield True, f"{table}.{name} is {other['logicalType']}, and was {one['logicalType']}"
        if one["required"] != other["required"]:
            yield one["required"], f"{table}.{name} may {'be' if one['required'] else 'not be'} null"
        if one.get("primaryKeyPosition") != other.get("primaryKeyPosition"):
            yield True, f"{table}.{name} has another place in the key"
        yield from _of_bounds(f"{table}.{name}", one.get("logicalTypeOptions", {}), other.get("logicalTypeOptions", {}))


def _of_bounds(name: str, before: dict[str, float], after: dict[str, float]) -> Iterator[tuple[bool, str]]:
    for bound, sign in (("minimum", 1), ("maximum", -1)):
        one, other = before.get(bound), after.get(bound)
        if one != other:
            is_wider = one is not None and (other is None or sign * other < sign * one)
            yield is_wider, f"{name} has the {bound} {other if other is not None else 'none'}, and had {one if one is not None else 'none'}"


def breaking(old: Contract, new: Contract) -> list[str]:
    """List the differences that break users of the old contract; none if the new one has a higher major version."""
    if _major(new) > _major(old):
        return []
    return sorted(said for is_broken, said in differences(old, new) if is_broken)


def _major(data_contract: Contract) -> int:
    return int(str(data_contract["version"]).split(".")[0])


def _by_name(parts: list[Contract]) -> dict[str, Contract]:
    return {one["name"]: one for one in parts}
