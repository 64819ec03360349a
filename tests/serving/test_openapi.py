"""The description for programs says what the routes answer and take: compared with them, for a release of each kind."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.serving.conftest import Server

KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
fresh = itertools.count(3_000_000)


def faults(schema: dict, value: Any, schemas: dict, where: str = "answer") -> Iterator[str]:
    """Yield the faults of a value by a JSON schema, of the words that the description uses."""
    unknown = set(schema) - {
        "$ref",
        "anyOf",
        "type",
        "const",
        "enum",
        "required",
        "properties",
        "additionalProperties",
        "items",
        "minimum",
        "maximum",
        "pattern",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "format",
        "description",
    }
    assert not unknown, unknown
    if "$ref" in schema:
        yield from faults(schemas[schema["$ref"].rpartition("/")[2]], value, schemas, where)
    if "anyOf" in schema:
        found = [list(faults(each, value, schemas, where)) for each in schema["anyOf"]]
        if all(found):
            yield min(found, key=len)[0]
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(isinstance(value, KINDS[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds):
        yield f"{where}: {value!r} is not of {kinds}"
        return
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r}"
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        yield from (f"{where}: has no {name}" for name in schema.get("required", ()) if name not in value)
        for name, each in value.items():
            if name not in properties and others is False:
                yield f"{where}: has {name}"
            else:
                yield from faults(properties.get(name, others or {}), each, schemas, f"{where}.{name}")
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from faults(schema.get("items", {}), each, schemas, f"{where}[{place}]")
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: {value} is out of bounds"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{where}: {value!r} is not as {schema['pattern']}"


def described(server: Server, path: str, method: str = "get") -> tuple[dict, dict]:
    document = server.get("/openapi.json").json()
    return document["paths"][path][method], document["components"]["schemas"]


def is_described(server: Server, pattern: str, path: str, method: str = "get", body: Any = None) -> dict:
    """Compare one answer, in each of its shapes; every key that it has is described."""
    operation, schemas = described(server, pattern, method)
    for shape in ("objects", "arrays", "array", "arrayfirst", "object") if method == "get" else ("objects",):
        joint = "&" if "?" in path else "?"
        answer = server.client.request(method.upper(), f"{path}{joint}_shape={shape}", json=body, headers=server.auth)
        response = operation["responses"][str(answer.status_code)]
        found = list(faults(response["content"]["application/json"]["schema"], answer.json(), schemas))
        assert not found, (path, shape, found[:3])
        if shape == "objects":
            whole, (name,) = (
                answer.json(),
                [part["$ref"].rpartition("/")[2] for part in response["content"]["application/json"]["schema"]["anyOf"][:1]],
            )
            assert not list(faults({"$ref": f"#/{name}"}, whole, schemas)) and set(whole) <= set(schemas[name]["properties"]), path
            row = schemas[name.replace("Answer", "Row")]["properties"]
            assert all(set(each) <= set(row) for each in whole["rows"]), path
            for reason in (reason for each in whole["rows"] for reason in each.get("reasons", ())):
                assert set(reason) <= set(schemas["Reason"]["properties"])
    if method == "get":
        lines = server.client.get(f"{path}{joint}_shape=array&_nl=on", headers=server.auth)
        assert lines.headers["content-type"].partition(";")[0] == "text/plain" and "text/plain" in operation["responses"]["200"]["content"]
    return whole


@pytest.mark.parametrize("server", ["movies", "purchases"])
def test_answers_are_as_they_are_described(server: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(server)
    document = server.get("/openapi.json").json()
    is_whole = document["components"]["schemas"]["UserId"]["type"] == "integer"
    user = server.get("/").json()["users"][3]["user_id"]
    nobody = 987654321 if is_whole else "nobody/here"
    item = server.rows("/popular?n=1")[0]["item_id"]
    release = server.get("/").json()["release"]
    word = re.findall(r"\w+", server.rows("/popular?n=1")[0]["title"])[0]
    first, last = quote(str(user), safe=""), quote(str(nobody), safe="")
    listed = server.rows(f"/recommend/{first}?n=1")[0]["item_id"]
    known, unseen = quote(str(item), safe=""), quote(str(listed), safe="")
    for pattern, paths in {
        "/": ["/"],
        "/recommend/{user_id}": [
            f"/recommend/{first}?n=12",
            f"/recommend/{first}?n=3&fields=mean_rating,description",
            f"/recommend/{last}",
            f"/recommend/{first}?exclude={unseen}",
        ],
        "/why/{user_id}/{item_id}": [f"/why/{first}/{unseen}", f"/why/{last}/{known}", f"/why/{first}/{known}?n=2"],
        "/predict/{user_id}/{item_id}": [f"/predict/{first}/{unseen}", f"/predict/{last}/{known}"],
        "/recommend": [f"/recommend?user_id={first}", f"/recommend?user_id={last}&n=3"],
        "/items/{item_id}": [f"/items/{known}", f"/items/{unseen}"],
        "/similar/{item_id}": [f"/similar/{known}", f"/similar/{known}?source=content", f"/similar/{known}?n=1000&fields=year,genres"],
        "/similar": [f"/similar?items={known},{unseen}", f"/similar?items={known}&n=1000&fields=tags,is_blocked,same_item_id"],
        "/popular": ["/popular?n=30"],
        "/audience/{item_id}": [f"/audience/{unseen}", f"/audience/{known}?n=200"],
        "/genres": ["/genres"],
        "/search": [f"/search?q={quote(word)}"],
        "/ratings/{user_id}": [f"/ratings/{first}"],
        "/analytics": ["/analytics"],
        "/data": ["/data"],
        "/api": ["/api"],
        "/releases": ["/releases"],
        "/runs": ["/runs"],
        "/releases/{release}": ["/releases/current", f"/releases/{release}"],
        "/releases/compare": ["/releases/compare?a=current&b=latest"],
        "/health/live": ["/health/live"],
        "/health/ready": ["/health/ready"],
    }.items():
        for path in paths:
            is_described(server, pattern, path)
    new = next(fresh) if is_whole else f"new {next(fresh)}"
    row = {"user_id": new, "item_id": item, "rating" if is_whole else "weight": 3.0}
    is_described(server, "/ratings", "/ratings", "post", [row, row | {"item_id": 77_777_777 if is_whole else "unknown"}])
    is_described(server, "/ratings", "/ratings", "put", {"ratings": [row]})
    is_described(server, "/ratings", "/ratings", "delete", [{"user_id": new, "item_id": item}, {"user_id": new, "item_id": listed}])
    is_described(server, "/items/{item_id}/hidden", f"/items/{known}/hidden", "put")
    is_described(server, "/hidden", "/hidden")
    is_described(server, "/items/{item_id}/hidden", f"/items/{known}/hidden", "delete")
    visited = [{name: value for name, value in row.items() if name != "user_id"}]
    assert is_described(server, "/recommend/session", "/recommend/session", "post", {"ratings": visited})["note"]


def test_what_is_described_of_bodies_is_taken_and_nothing_else(movies: Server, purchases: Server) -> None:
    for server, method, path, body in [
        (movies, "post", "/ratings", {"user_id": 1, "item_id": 1, "rating": None}),
        (movies, "post", "/ratings", {"user_id": 1, "item_id": 1, "rating": 5.5}),
        (movies, "post", "/ratings", {"user_id": 1, "item_id": 1, "rating": 4, "weight": 1}),
        (movies, "post", "/ratings", {"user_id": "x", "item_id": 1, "rating": 4}),
        (movies, "post", "/ratings", {"user_id": 1, "item_id": 2**63, "rating": 4}),
        (movies, "post", "/ratings", []),
        (movies, "post", "/ratings", {"ratings": []}),
        (movies, "post", "/ratings", {"user_id": 1, "item_id": 1, "rating": 4, "rated_at": -1}),
        (purchases, "post", "/ratings", {"user_id": "a", "item_id": "b", "rating": 4}),
        (purchases, "post", "/ratings", {"user_id": "a", "item_id": "b", "weight": 0}),
        (purchases, "post", "/ratings", {"user_id": 1, "item_id": "b"}),
        (movies, "post", "/recommend/session", {"ratings": [{"item_id": 1, "user_id": 1}]}),
        (movies, "post", "/recommend/session", {"ratings": [{"item_id": True}]}),
        (movies, "delete", "/ratings", {"user_id": 1}),
        (movies, "post", "/recommend/session", {"ratings": [{"item_id": 1, "rated_at": 5}, {"item_id": 2}]}),
        (movies, "post", "/recommend/session", {"ratings": {}}),
    ]:
        assert server.client.request(method, path, json=body, headers=server.auth).status_code == 400, body
        operation, schemas = described(server, path, method)
        kept = schemas | {name: schema | {"minItems": 0} for name, schema in schemas.items()}
        found = list(faults(operation["requestBody"]["content"]["application/json"]["schema"], body, kept))
        assert found or body in ([], {"ratings": []}), body


def test_every_operation_has_a_name_of_its_own_and_refers_to_what_is_there(movies: Server) -> None:
    document = movies.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) == 39 and all(re.fullmatch("[a-z_]+", name) for name in names)
    assert {tag for operation in operations for tag in operation["tags"]} == {"lists", "ratings", "releases", "server"}
    text = movies.get("/openapi.json").text
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(document["components"]["schemas"])
    started = document["paths"]["/releases"]["post"]
    assert "202" in started["responses"] and "200" not in started["responses"] and "401" in started["responses"]
    by_name = {parameter["name"]: parameter["schema"] for parameter in document["paths"]["/recommend/{user_id}"]["get"]["parameters"]}
    assert by_name["user_id"]["type"] == "integer" and by_name["exclude"]["type"] == "array" and "Drama" in by_name["genre"]["enum"]
