"""The data contract: everything that the tables declare, and what breaks who relies on it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from schemas.contract import breaking, contract, differences, VERSION
from schemas.tables import IdTypes, TABLES


def column(found: dict[str, Any], table: str, name: str) -> dict[str, Any]:
    (of,) = [one for one in found["schema"] if one["name"] == table]
    return next(one for one in of["properties"] if one["name"] == name)


def test_every_table_and_column_is_promised_as_it_is_declared() -> None:
    found = contract(IdTypes("string", "int64"))
    assert {one["name"]: [p["name"] for p in one["properties"]] for one in found["schema"]} == {
        table.name: table.names for table in TABLES.values()
    }
    for table in TABLES.values():
        key = {
            p["name"]: p["primaryKeyPosition"]
            for one in found["schema"]
            if one["name"] == table.name
            for p in one["properties"]
            if p.get("primaryKey")
        }
        assert sorted(key, key=key.__getitem__) == list(table.key)
        for declared in table.columns:
            promised = column(found, table.name, declared.name)
            assert (promised["required"], promised["description"]) == (not declared.is_nullable, declared.description)
    assert column(found, "users", "user_id")["logicalType"] == "string" and column(found, "items", "item_id")["logicalType"] == "integer"
    assert column(found, "ratings", "rated_at")["logicalType"] == "timestamp"
    assert column(found, "recommendations", "rank")["logicalTypeOptions"] == {"minimum": 1}
    rules = {rule["name"] for one in found["schema"] for rule in one["quality"]}
    assert {"explanations.kind is one of its choices", "recommendations.item_id is in items"} <= rules
    assert not any("rated_at is inside" in name for name in rules), "Parquet has timestamps, which are not compared with numbers"


def changed(table: str, name: str, **values: Any) -> dict[str, Any]:
    found = copy.deepcopy(contract(IdTypes()))
    if not values:
        (of,) = [one for one in found["schema"] if one["name"] == table]
        of["properties"] = [one for one in of["properties"] if one["name"] != name]
    else:
        column(found, table, name).update(values)
    return found


NOW = contract(IdTypes())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (NOW, changed("recommendations", "score"), "recommendations.score is gone"),
        (NOW, changed("recommendations", "score", logicalType="string"), "recommendations.score is string, and was number"),
        (NOW, changed("items", "title", required=False), "items.title may be null"),
        (NOW, changed("users", "user_id", primaryKeyPosition=2), "users.user_id has another place in the key"),
        (NOW, changed("recommendations", "rank", logicalTypeOptions={"minimum": 0}), "recommendations.rank has the minimum 0, and had 1"),
        (NOW, NOW | {"schema": NOW["schema"][1:]}, "items is gone"),
    ],
)
def test_what_is_gone_or_promises_less_breaks_who_relied_on_it(old: dict[str, Any], new: dict[str, Any], says: str) -> None:
    assert breaking(old, new) == [says]
    assert breaking(old, new | {"version": "2.0.0"}) == [], "a new major version says so"
    assert [is_broken for is_broken, _ in differences(new, old)].count(True) <= 1


def test_what_is_added_or_promises_more_breaks_nobody() -> None:
    for old in (changed("recommendations", "score"), changed("items", "title", required=False)):
        assert breaking(old, NOW) == [] and len(list(differences(old, NOW))) == 1
    assert list(differences(NOW, contract(IdTypes("string", "string")))) == [], "the types of ids are the source's"
    assert NOW["version"] == VERSION
