"""The load of `bench soak`: what readers, visitors, raters and analysts ask, in one fixed order that a number leads through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.bench import requests
from jobs.bench.swaps import edition
from jobs.bench.wire import request

# Of twenty requests, one after another; a deletion is of a rating that was posted some rounds before.
ROUND = (
    "lookup", "post", "lookup", "why", "lookup", "search", "lookup", "post", "session", "lookup",
    "why", "lookup", "delete", "lookup", "post", "sql", "lookup", "why", "search", "session",
)  # fmt: skip
KINDS = tuple(dict.fromkeys(ROUND))
PER_ROUND = {kind: ROUND.count(kind) for kind in KINDS}
ROUNDS_BETWEEN = 20
SESSION_ROWS = 5


class Kept(NamedTuple):
    """The facts that are kept of an answer: its kind, the release that a lookup named, the sequence number that a write was acknowledged with."""

    kind: str
    release: str = ""
    sequence: int | None = None


@dataclass(frozen=True)
class Mixed:
    """Requests by number, and what to keep of their answers; picklable, since another process sends them."""

    users: int
    items: int
    key: str
    offset: int
    pairs: Sequence[bytes]

    def ask(self, index: int) -> bytes:
        kind, number = _place(index)
        if kind == "delete" and number < ROUNDS_BETWEEN:
            kind = "post"
        user = requests.scattered(index + self.offset, self.users) + 1
        if kind == "lookup":
            return requests.lookup(self.users, self.offset, index)
        if kind == "why":
            return requests.cycled(self.pairs, self.offset, index)
        if kind == "search":
            return request("GET", f"/search?q=number+{user % 1000}&n=10")
        if kind == "session":
            rows = [{"item_id": (user + place) % self.items * 3 + 1, "rating": 4.0} for place in range(SESSION_ROWS)]
            return request("POST", "/recommend/session?n=10", json.dumps({"ratings": rows}).encode())
        if kind == "sql":
            return requests.listed(self.users, self.offset, index)
        user, item, value, is_deleted = self.entry(index)
        if is_deleted:
            return request("DELETE", f"/ratings/{user}/{item}", key=self.key)
        return requests.one_rating(user, item, value, self.key)

    def entry(self, index: int) -> tuple[int, int, float, bool]:
        """The content of a write: user, item, rating, and whether it removes them."""
        kind, number = _place(index)
        is_deleted = kind == "delete" and number >= ROUNDS_BETWEEN
        if is_deleted:
            index = (index // len(ROUND) - ROUNDS_BETWEEN) * len(ROUND) + ROUND.index("post")
        user, item, value = requests.pair(self.users, self.items, self.offset, index)
        return user, item, value, is_deleted

    def keep(self, index: int, body: bytes) -> Kept:
        kind, _ = _place(index)
        if kind == "lookup":
            return Kept(kind, release=edition(index, body))
        if kind in ("post", "delete"):
            return Kept(kind, sequence=json.loads(body)["sequence"])
        return Kept(kind)


def _place(index: int) -> tuple[str, int]:
    """The kind of a request, and the number of its round."""
    return ROUND[index % len(ROUND)], index // len(ROUND)
