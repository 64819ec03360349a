"""Limits of how often one may ask: token buckets for keys and addresses, and a wait that grows with wrong keys.

Nobody on this machine is counted by address: there is no stranger among them, and behind a proxy that does not say for whom it asks all
would be one. An address of IPv6 counts with all of its /64, which is what one subscriber has.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache

from serving.response import RequestError

BURST_S = 10  # how long what was not asked for adds up
FREE, MOST_S, FORGET_S = 5, 300.0, 900.0
_KEPT = 10_000
Headers = list[tuple[bytes, bytes]]


@lru_cache(4096)
def network(address: str) -> str | None:
    """Whom an address is counted as; None for this machine, and for what is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback:
        return None
    return str(found) if found.version == 4 else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class Buckets:
    """A bucket each of `rate` a second that holds BURST_S seconds of it; a rate of 0 is any number.

    A bucket is one number, the time at which it is full again: each request moves it on by its share of a second, and where it
    would be more than BURST_S ahead the bucket is empty. Example: rate 2, at second 100 full until 100; 20 requests at once move
    it to 110, the 21st is refused, and at 100.5 one more may come.
    """

    def __init__(self, name: str, rate: int) -> None:
        self._name, self.rate = name, rate
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()
        self._policy = f'"{name}";q={rate * BURST_S};w={BURST_S}'.encode()

    def take(self, who: Hashable, now: float) -> Headers:
        """Count a request; the headers that say what is left. Raises RequestError (429) if nothing is."""
        if not self.rate:
            return []
        full_at = max(self._full_at.get(who, now), now) + 1 / self.rate
        ahead = full_at - now
        if ahead > BURST_S + 1e-9:
            wait = math.ceil(ahead - BURST_S)
            headers = {name.decode(): value.decode() for name, value in self._said(0, BURST_S)} | {"retry-after": str(wait)}
            raise RequestError(f"more than {self.rate} reads a second of one {self._name}; ask again later", 429, headers)
        self._full_at[who] = full_at
        self._full_at.move_to_end(who)
        if len(self._full_at) > _KEPT:
            self._full_at.popitem(last=False)
        return self._said(int((BURST_S - ahead) * self.rate + 1e-6), math.ceil(ahead))

    def _said(self, left: int, reset_s: int) -> Headers:
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", f'"{self._name}";r={left};t={reset_s}'.encode())]


class WrongKeys:
    """Wrong keys by address: after FREE of them the next must wait a second, then two, four, up to MOST_S; FORGET_S without any end it.

    A key that was right from the same address before is not held up, so that a stranger behind the same proxy locks nobody out.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, who: str | None, key: str | None, now: float) -> int:
        """Seconds until another key from there is looked at; `key` is the digest of a key that is right."""
        number, at = self._wrong.get(who, (0, 0.0)) if who is not None and self._wrong else (0, 0.0)
        if number < FREE or key is not None and (who, key) in self._right:
            return 0
        return max(0, math.ceil(at + min(2.0 ** (number - FREE), MOST_S) - now))

    def add(self, who: str | None, now: float) -> None:
        """A wrong key was shown."""
        if who is None:
            return
        number, at = self._wrong.pop(who, (0, now))
        self._wrong[who] = (number + 1 if now - at < FORGET_S else 1, now)
        if len(self._wrong) > _KEPT:
            self._wrong.popitem(last=False)

    def was_right(self, who: str | None, key: str) -> None:
        if who is None:
            return
        self._right[who, key] = None
        self._right.move_to_end((who, key))
        if len(self._right) > _KEPT:
            self._right.popitem(last=False)
