"""The row of a list and of a reason as they are answered: keys in their order, each with its type as `serving.row_schemas` writes types.

Whatever writes such a row, as an object, as text or as a description of it, takes its keys from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.tables import BOOLEAN, INTEGER, ITEM_ID, ITEMS, REAL, TEXT

SCORED = {"score": "number", "predicted_rating": "number?", "confidence": "number?", "source": "text"}
ROW = {"rank": "integer", "item_id": "item", "title": "text", **SCORED, "reasons": "Reason[]", "residual": "number?"}
REASON = {"kind": "kind", "item_id": "item?", "title": "text?", "contribution": "number?"}
GENRE = "genre"  # the key that a reason of this kind has besides
VALUE = {"history": "rating", "genre": "match", "bias": "over_mean", "residual": "n", "similar_users": "mean_rating"}
"""The key of a reason's value in `detail`, by kind; that of similar users is there besides N, how many they are. A reason of kind history
that is the listed item itself has N instead, how often the user had it."""
N = "n"
DETAILS = {
    "rating": "number", "over_mean": "number", GENRE: "text", "match": "number", N: "integer", "mean_rating": "number",
}  # fmt: skip

_KINDS = {TEXT: "text", INTEGER: "integer", REAL: "number", BOOLEAN: "flag", ITEM_ID: "item"}
_LISTS = ("genres", "tags")
FACTS = {
    column.name: "text[]" if column.name in _LISTS else _KINDS[column.type] + "?" * column.is_nullable
    for column in ITEMS.columns
    if column.name not in ROW
}
"""Facts of its item that a row has if it is asked for them: the columns of `items`, those of several parts as lists."""


def row(values: Iterable[Any]) -> dict[str, Any]:
    """Return the row of a list with these values, in the order of ROW."""
    return dict(zip(ROW, values, strict=True))


def reason(values: Iterable[Any]) -> dict[str, Any]:
    """Return the row of a reason with these values, in the order of REASON."""
    return dict(zip(REASON, values, strict=True))


def as_json(keys: Iterable[str]) -> list[str]:
    """Return the text before each value of a JSON object with these keys."""
    return [f'{"," if place else "{"}"{key}":' for place, key in enumerate(keys)]
