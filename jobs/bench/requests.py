"""The requests that the benchmarks send, by number, so that another process can make them itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from urllib.parse import quote

from jobs.bench.generated_release import QUERY
from jobs.bench.wire import request

_QUERY = quote(QUERY.strip(), safe="")
_SCATTER = 2_654_435_761  # Knuth's multiplier: consecutive numbers land far apart


def scattered(index: int, n: int) -> int:
    """A number below n that looks random and is always the same for an index."""
    return (index * _SCATTER % 2**32) * n >> 32


def lookup(users: int, offset: int, index: int) -> bytes:
    """Ten rows of a random user's list, with their reasons."""
    return request("GET", f"/recommend/{scattered(index + offset, users) + 1}?n=10")


def unchanged(users: int, release: str, offset: int, index: int) -> bytes:
    """Ask for a random user's list as a client that has it already, by its entity tag."""
    return lookup(users, offset, index)[:-2] + f'if-none-match: W/"{release}.0"\r\n\r\n'.encode()


def canned(users: int, offset: int, index: int) -> bytes:
    """The ten rows and their reasons by a query with a parameter, as a canned one is run."""
    return request("GET", f"/cinematch.json?sql={_QUERY}&_shape=array&user_id={scattered(index + offset, users) + 1}")


def listed(users: int, offset: int, index: int) -> bytes:
    """A random user's list by the query that every release has: no reasons, but the whole list."""
    return request("GET", f"/cinematch/list_of_user.json?_shape=array&user_id={scattered(index + offset, users) + 1}")


def cycled(requests: Sequence[bytes], offset: int, index: int) -> bytes:
    return requests[(index + offset) % len(requests)]


def empty(index: int) -> bytes:
    return request("GET", "/")


def pair(users: int, items: int, offset: int, index: int) -> tuple[int, int, float]:
    """A rating: user, item and value. The same pair does not come again before every item has had its turn."""
    number = index + offset
    return scattered(number, users) + 1, number % items * 3 + 1, 0.5 + number % 10 * 0.5


def rating(pair_of: Callable[[int], tuple[int, int, float]], key: str, index: int) -> bytes:
    """POST of a single rating."""
    return one_rating(*pair_of(index), key)


def one_rating(user: int, item: int, value: float, key: str) -> bytes:
    return request("POST", "/ratings", json.dumps({"user_id": user, "item_id": item, "rating": value}).encode(), key)
