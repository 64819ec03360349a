"""Answers of lookups, and how they become a body: one success envelope, one error body, the shapes of Datasette."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any

from schemas.errors import CineMatchError, UsageError

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
SHAPES = ("objects", "arrays", "array", "arrayfirst", "object")


class RequestError(UsageError):
    """A request that is refused; `status` says how, `headers` what else the client should know."""

    def __init__(self, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


@dataclass
class Response:
    """One answer: its rows, the key of a row, the token of the next page, what stands beside them, and its entity tag.

    `tag` is None if the answer may not be cached; `is_personal` answers are for one user's eyes. `opened` is the release
    that it comes from. `encoded` rows, where given, are the rows as JSON, made on a shorter way.
    """

    rows: Sequence[Any] = ()
    key: str = "item_id"
    next: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    tag: str | None = None
    is_personal: bool = False
    status: int = 200
    encoded: bytes | None = None
    text: str | None = None
    kind: str = "text/plain; version=0.0.4; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    opened: Any = None


def compact(value: Any) -> str:
    """JSON without spaces; NaN and infinity, which JSON has not, are an error."""
    return _ENCODER.encode(value)


def value_json(value: Any) -> str:
    """Encode a value as `compact` does; a text, a number, a truth or nothing without the encoder's set-up, which takes longer than they do."""
    return _PLAIN[type(value)](value)


def number_json(value: float) -> str:
    """A number; NaN and infinity are an error."""
    return repr(value) if -_LARGEST <= value <= _LARGEST else compact(value)


def rows_json(rows: Iterable[Any]) -> bytes:
    """An array, row by row, so that a thread that writes a long one lets others have their turn."""
    return f"[{','.join([compact(row) for row in rows])}]".encode()


class _Encoders(dict[type, Callable[[Any], str]]):
    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return compact


_LARGEST = 1.7976931348623157e308
_PLAIN = _Encoders(
    {
        str: encode_basestring,
        int: repr,
        float: number_json,
        bool: {True: "true", False: "false"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
    }
)


def envelope(response: Response, *, release: str | None, took_ms: float, next_url: str | None) -> bytes:
    """The success body: {ok, release, took_ms, ..., next, next_url, rows}."""
    plain = _PLAIN
    extra = "".join([f'"{name}":{plain[type(value)](value)},' for name, value in response.extra.items()])
    head = (
        f'{{"ok":true,"release":{value_json(release)},"took_ms":{took_ms:.3f},{extra}'
        f'"next":{value_json(response.next)},"next_url":{value_json(next_url)},"rows":'
    )
    rows = response.encoded if response.encoded is not None else rows_json(response.rows)
    return b"%b%b}" % (head.encode(), rows)


def shaped(
    response: Response, shape: str, *, has_newlines: bool, release: str | None, took_ms: float, next_url: str | None
) -> tuple[bytes, bytes]:
    """Body and content type in one of Datasette's `_shape`s; `_nl` writes a row a line."""
    rows: list[dict[str, Any]] = json.loads(response.encoded) if response.encoded is not None else list(response.rows)
    if shape == "objects":
        return envelope(response, release=release, took_ms=took_ms, next_url=next_url), JSON_TYPE
    if shape == "arrays":
        columns = list(rows[0]) if rows else []
        response.extra = {**response.extra, "columns": columns}
        response.rows, response.encoded = [list(row.values()) for row in rows], None
        return envelope(response, release=release, took_ms=took_ms, next_url=next_url), JSON_TYPE
    if shape == "object":
        return compact({str(row[response.key]): row for row in rows}).encode(), JSON_TYPE
    values = [next(iter(row.values())) for row in rows] if shape == "arrayfirst" else rows
    if has_newlines:
        return "".join(compact(value) + "\n" for value in values).encode(), b"text/plain; charset=utf-8"
    return compact(values).encode(), JSON_TYPE


def error_body(error: CineMatchError) -> bytes:
    """The one error body of every route."""
    return compact({"ok": False, "error": str(error), "status": error.status}).encode()


JSON_TYPE = b"application/json; charset=utf-8"
