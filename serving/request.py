"""A request as the lookups see it, and the token that continues a list where a page ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serving.opened import OpenRelease
from serving.response import RequestError


@dataclass
class Request:
    """One request: the release that was current when it began, ids from the path, parsed parameters, for writes the body and the
    name of the key, and the entity tags of what the client has. One that `is_sealed` names its release instead, and asks what that says
    by itself: nothing that came in later counts."""

    opened: OpenRelease
    path: Mapping[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    key: str | None = None
    if_none_match: bytes | None = None
    is_sealed: bool = False

    def has(self, tag: str) -> bool:
        """Whether the client has what is tagged so already, as it says."""
        return self.if_none_match is not None and matches(self.if_none_match, tagged(tag))


def tagged(tag: str) -> bytes:
    """An entity tag as the header has it; two answers of one tag say the same, if not byte by byte."""
    return f'W/"{tag}"'.encode()


def matches(given: bytes, tag: bytes) -> bool:
    """If-None-Match compares weakly: the strength of either tag does not matter."""
    bare = tag.removeprefix(b"W/")
    return given.strip() == b"*" or any(part.strip().removeprefix(b"W/") == bare for part in given.split(b","))


class Token(NamedTuple):
    """Where the next page begins: in which list (r, s, p), of which release, after which overlay sequence and rank.

    Text: `r~20260104T020000Z~0~10`.
    """

    list: str
    release: str
    seq: int
    rank: int

    def text(self) -> str:
        return f"{self.list}~{self.release}~{self.seq}~{self.rank}"

    @classmethod
    def parse(cls, text: str, list: str) -> Token:
        """Raises RequestError if the text is not a token of that list."""
        parts = text.split("~")
        if len(parts) != 4 or parts[0] != list or not all(p.isascii() and p.isdigit() and len(p) < 16 for p in parts[2:]):
            raise RequestError(f"next: {text[:100]!r} is not a token of this list; give it back as the page before gave it")
        return cls(list, parts[1], int(parts[2]), int(parts[3]))
