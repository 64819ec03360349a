"""Facts of items, which a row of a list has besides where `fields` asks for them: one query for all rows of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import wraps
from typing import Any, TYPE_CHECKING

from schemas.list_rows import FACTS
from serving.opened import OpenRelease
from serving.parameters import LARGE, MANY_ROWS
from serving.request import Request
from serving.response import RequestError, Response, rows_json

if TYPE_CHECKING:
    from serving.route import Handler
    from serving.service import Service


def with_facts(handler: Handler) -> Handler:
    """A route's handler whose answers have the facts of the parameter `fields` in each row; without it they are as they were."""

    @wraps(handler)
    def answered(service: Service, request: Request) -> Any:
        return _answered(handler, service, request) if request.values["fields"] else handler(service, request)

    return answered


async def _answered(handler: Handler, service: Service, request: Request) -> Response:
    fields = tuple(dict.fromkeys(request.values["fields"]))
    _check(request.opened, fields)
    response = handler(service, request)
    if not isinstance(response, Response):
        response = await response
    opened, rows = response.opened or request.opened, response.rows if response.encoded is None else response.encoded
    if opened is not request.opened:  # the release before, of which a page was asked for
        _check(opened, fields)
    if len(response.rows) > MANY_ROWS or len(response.encoded or b"") > LARGE:
        response.rows, response.encoded = (), await service.threads.long(opened, _encoded, rows, fields)
    elif rows:
        response.rows, response.encoded = facts_added(opened, _parsed(rows), fields), None
    return response


def _encoded(opened: OpenRelease, rows: bytes | Sequence[Any], fields: Sequence[str]) -> bytes:
    return rows_json(facts_added(opened, _parsed(rows), fields))


def _parsed(rows: bytes | Sequence[Any]) -> Any:
    return json.loads(rows) if isinstance(rows, bytes) else rows


def facts_added(opened: OpenRelease, rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with the facts of their items behind what they have; a key that a row has already stays as it is. From any thread."""
    facts = _facts(opened, [row["item_id"] for row in rows], fields)
    return [{**row, **{name: value for name, value in facts[row["item_id"]].items() if name not in row}} for row in rows]


def _facts(opened: OpenRelease, items: Sequence[Any], fields: Sequence[str]) -> dict[Any, dict[str, Any]]:
    """Read the facts of items, by item."""
    columns, marks = ", ".join(fields), ", ".join("?" * len(items))
    asked = f"select item_id, {columns} from items where item_id in ({marks})"  # nosec B608  # schemas.tables, question marks
    return {
        item: {name: _shown(FACTS[name], value) for name, value in zip(fields, values)}
        for item, *values in opened.reader().execute(asked, items)
    }


def _shown(kind: str, value: Any) -> Any:
    """A value of SQLite as its kind of fact is answered."""
    if kind == "text[]":
        return several(value)
    return bool(value) if kind == "flag" else value


def several(text: str) -> list[str]:
    """Return the genres or tags of an item, which a column of `items` has in one text."""
    return text.split("|") if text else []


def _check(opened: OpenRelease, fields: Iterable[str]) -> None:
    """Raises RequestError if the items of a release have no fact of one of these names."""
    columns = {column[1] for column in opened.reader().execute("pragma table_info(items)")}
    known = [name for name in FACTS if name in columns]
    for name in fields:
        if name not in known:
            raise RequestError(f"fields: release {opened.id} has no fact {name[:100]!r} of its items; it has {', '.join(known)}")
