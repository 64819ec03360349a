"""Parameters of a lookup, declared once: parsed, checked and described (OpenAPI) from the same declaration."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from schemas.list_rows import FACTS
from schemas.tables import READY_N
from serving.response import RequestError, SHAPES

MAX_N = 1000
MAX_LISTED = 1000
MOST_ITEMS = 100  # of a set whose neighbours are asked for
MANY_ROWS, LARGE = 100, 64 << 10  # rows, and bytes of JSON; what is more is made aside, so that others do not wait for it
KEPT_QUERIES, KEPT_LENGTH = 1_000, 60
_LISTED = re.compile(r"(?:[^,\\]|\\.)+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """One query parameter. kind: integer, flag, text, list; `choices` are the only values of a text, and describe those of a list. A list
    may be given several times and within one value by commas; `once` says more of why another may not. With `may_be_empty` an empty text,
    which a form sends for a field that was left alone, is as nothing."""

    name: str
    kind: str
    description: str
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    is_required: bool = False
    once: str = ""
    pattern: str | None = None
    may_be_empty: bool = False

    def parse(self, text: str) -> Any:
        """The value. Raises RequestError (400) naming the parameter, what was expected and what was got."""
        if self.may_be_empty and not text:
            return self.default
        if self.kind == "integer":
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
                raise RequestError(f"{self.name}: expected a whole number from {self.minimum} to {self.maximum}, got {text[:100]!r}")
            value = int(text)
            low, high = self.minimum, self.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                raise RequestError(f"{self.name}: expected a whole number from {self.minimum} to {self.maximum}, got {value}")
            return value
        if self.kind == "flag":
            if text not in FLAGS:
                raise RequestError(f"{self.name}: expected 1 or 0, got {text[:100]!r}")
            return FLAGS[text]
        if self.kind == "list":
            return tuple(listed_ids(text))
        if self.pattern is not None and not text:
            raise RequestError(f"{self.name}: is empty, expected {self.description}")
        if self.choices and text not in self.choices:
            raise RequestError(f"{self.name}: expected one of {', '.join(self.choices)}, got {text[:100]!r}")
        return text

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        kind = "integer" if self.kind == "integer" else "string"
        choices = list(FLAGS) if self.kind == "flag" else list(self.choices) or None
        limits = {"minimum": self.minimum, "maximum": self.maximum, "enum": choices, "pattern": self.pattern}
        limits |= {"minLength": 1 if self.is_required else None}
        default = int(self.default) if self.kind == "flag" and self.default is not None else self.default
        shown = {"default": str(default) if kind == "string" else default} if default is not None else {}
        return {"type": kind, **{name: limit for name, limit in limits.items() if limit is not None}, **shown}


FLAGS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
N = Parameter("n", "integer", "rows to give", READY_N, 1, MAX_N)
MORE = "given again for each or separated by commas"
GENRE = Parameter(
    "genre",
    "text",
    "only items of this genre",
    once="; several genres stand in any_genre, all_genres or no_genre",
    may_be_empty=True,
)
FILTERS = (
    GENRE,
    Parameter("any_genre", "list", f"only items of one of these genres at least, {MORE}", ()),
    Parameter("all_genres", "list", f"only items of all of these genres, {MORE}", ()),
    Parameter("no_genre", "list", f"no item of one of these genres, {MORE}", ()),
    Parameter("any_tag", "list", f"only items with one of these tags at least, {MORE}", ()),
    Parameter("all_tags", "list", f"only items with all of these tags, {MORE}", ()),
    Parameter("no_tag", "list", f"no item with one of these tags, {MORE}", ()),
    Parameter("year_from", "integer", "only items of this year or a later one", None, 1, 9999, may_be_empty=True),
    Parameter("year_to", "integer", "only items of this year or an earlier one", None, 1, 9999, may_be_empty=True),
)
_IDS = f"{MORE}; a comma or backslash within an id is written \\, or \\\\"
EXCLUDE = Parameter("exclude", "list", f"ids of items to leave out, {_IDS}", ())
ITEMS = Parameter("items", "list", f"ids of up to {MOST_ITEMS} items, {_IDS}", (), is_required=True)
FIELDS = Parameter("fields", "list", f"facts of its item that each row has besides, {MORE}", (), choices=tuple(FACTS))
STRICT = Parameter("strict", "flag", "1: an unknown user is a 404 and not a fallback", False)
SHAPE = Parameter("_shape", "text", "shape of the rows, as in Datasette", "objects", choices=SHAPES)
NL = Parameter("_nl", "flag", "1 with `_shape=array`: a row a line", False)
EVERYWHERE = (SHAPE, NL)
RELEASE = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
SEALED = Parameter(
    "release",
    "text",
    "id of a sealed release, `current` or `latest`: what that release says, as it was sealed and without any rating that came in later",
    pattern=RELEASE,
)


def next_of(letter: str) -> Parameter:
    """The token of a kind of list, which begins with its letter."""
    pattern = f"^{letter}~[^~]+~[0-9]{{1,15}}~[0-9]{{1,15}}$"
    return Parameter("next", "text", "token of the next page, as the page before gave it", pattern=pattern)


class Query:
    """Parses query strings of one route. Clients send the same few again and again, so short ones are kept parsed."""

    def __init__(self, declared: Sequence[Parameter]) -> None:
        self._declared = declared
        self._kept: dict[str, Mapping[str, Any]] = {}

    def __call__(self, query: str) -> Mapping[str, Any]:
        values = self._kept.get(query)
        if values is None:
            values = parsed(self._declared, query)
            if len(query) <= KEPT_LENGTH:
                if len(self._kept) >= KEPT_QUERIES:
                    self._kept.clear()
                self._kept[query] = values
        return values


def parsed(declared: Sequence[Parameter], query: str) -> Mapping[str, Any]:
    """Values of the declared parameters. Names that begin with _ and are not declared are left alone; others are refused."""
    values = {parameter.name: parameter.default for parameter in declared}
    if query:
        by_name, given = {parameter.name: parameter for parameter in declared}, set()
        for name, text in _pairs(query):
            if name in by_name:
                parameter = by_name[name]
                if parameter.kind == "list":
                    values[name] += parameter.parse(text)
                    if len(values[name]) > MAX_LISTED:
                        raise RequestError(f"{name}: more than {MAX_LISTED} ids, expected at most so many")
                elif name in given:
                    raise RequestError(f"{name}: is given more than once, expected one value{parameter.once}")
                else:
                    values[name] = parameter.parse(text)
                given.add(name)
            elif not name.startswith("_"):
                near = difflib.get_close_matches(name, by_name, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; expected {', '.join(by_name)}" if by_name else ""
                raise RequestError(f"unknown parameter {name[:100]!r}{hint}")
    for parameter in declared:
        if parameter.is_required and not values[parameter.name]:
            raise RequestError(f"{parameter.name}: is missing; {parameter.description}")
    return MappingProxyType(values)


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except (ValueError, UnicodeDecodeError):
        raise RequestError("the query string: expected at most 100 parameters in percent-encoded UTF-8") from None


def listed_ids(text: str | None) -> list[str]:
    """The ids of a comma-separated list; a backslash takes the next character as it is."""
    parts = _LISTED.findall(text or "")
    return [_ESCAPED.sub(r"\1", part) if "\\" in part else part for part in parts]
