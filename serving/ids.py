"""Ids that a request names: of the release's type, or refused with 400, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.errors import NotFound
from serving.opened import OpenRelease
from serving.request import Request
from serving.response import RequestError

EXACT = 2**53  # whole numbers up to this are what they are as floats too
MAX_ID = 1_000
_NAMES = {"user_id": "the id of a user", "item_id": "the id of an item"}


def path_id(opened: OpenRelease, request: Request, role: str) -> Any:
    """The user or item that a path names, known or not."""
    return _parsed(opened, role, request.path[role], f"{role}: {request.path[role][:100]!r}")


def asked_user(opened: OpenRelease, request: Request) -> Any:
    """The user that the parameter `user_id` names, known or not; None where it is not given."""
    text = request.values["user_id"]
    return _parsed(opened, "user_id", text, f"user_id: {text[:100]!r}") if text else None


def known_item(opened: OpenRelease, request: Request) -> Any:
    """The item that a path names. Raises NotFound if the release does not know it, or it is hidden."""
    item = path_id(opened, request, "item_id")
    if opened.title(item) is None:
        raise NotFound(f"item {request.path['item_id'][:200]!r}: not in release {opened.id}; /search?q= finds items by title")
    if item in opened.hidden:
        raise NotFound(f"item {request.path['item_id'][:200]!r}: is hidden by those who run this server")
    return item


def listed_items(opened: OpenRelease, name: str, texts: Iterable[str]) -> list[Any]:
    """Items of a parameter that lists them."""
    return [_parsed(opened, "item_id", text, f"{name}: {text[:100]!r}") for text in texts]


def _parsed(opened: OpenRelease, role: str, text: str, shown: str) -> Any:
    parsed = opened.ids.parse(role, text)
    if parsed is None or "\0" in text:
        raise RequestError(f"{shown} cannot be {_NAMES[role]} of release {opened.id}: expected {expected(opened, role)}")
    return parsed


def sent_id(opened: OpenRelease, role: str, value: Any) -> int | str | None:
    """An id of a JSON body: a number where ids are whole numbers (or its text, or 7.0 for 7), text where they are text; None if it can
    be no id of this release."""
    if getattr(opened.ids, role) == "int64":
        number = opened.ids.parse(role, value) if isinstance(value, str) else value
        if isinstance(number, float) and number.is_integer() and abs(number) <= EXACT:
            number = int(number)
        is_whole = isinstance(number, int) and not isinstance(number, bool) and -(2**63) <= number < 2**63
        return number if is_whole else None
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_ID and "\0" not in value
    return value if is_text and not any("\ud800" <= character <= "\udfff" for character in value) else None


def expected(opened: OpenRelease, role: str) -> str:
    """Say how the ids of a release are written."""
    is_whole = getattr(opened.ids, role) == "int64"
    return "a whole number, as all ids of this release are" if is_whole else f"text of 1 to {MAX_ID} characters"
