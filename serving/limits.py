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
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return None
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))


class Buckets:
    """A bucket each of `rate` a second that holds `burst_s` seconds of it; a rate of 0 is any number.

    A bucket is one number, the time at which it is full again: each request moves it on by its share of a second, and where it
    would be more than `burst_s` ahead the bucket is empty. Example: rate 2, at second 100 full until 100; 20 requests at once move
    it to 110, the 21st is refused, and at 100.5 one more may come. What is more than a whole bucket is let in when that is full, and
    has to be waited for afterwards.
    """

    def __init__(self, name: str, rate: int, *, what: str = "reads", burst_s: int = BURST_S) -> None:
        self._name, self.rate, self._what, self._burst_s = name, rate, what, burst_s
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()
        self._policy = f'"{name}";q={rate * burst_s};w={burst_s}'.encode()

    def take(self, who: Hashable, now: float, n: int = 1) -> Headers:
        """Count n of them; the headers that say what is left. Raises RequestError (429) if too little is."""
        if not self.rate:
            return []
        behind, burst_s = max(self._full_at.get(who, now) - now, 0.0), self._burst_s
        lacking = behind + min(n / self.rate, burst_s) - burst_s
        if lacking > 1e-9:
            headers = {name.decode(): value.decode() for name, value in self._said(0, burst_s)} | {"retry-after": str(math.ceil(lacking))}
            raise RequestError(f"more than {self.rate} {self._what} a second of one {self._name}; ask again later", 429, headers)
        ahead = behind + n / self.rate
        self._full_at[who] = now + ahead
        self._full_at.move_to_end(who)
        if len(self._full_at) > _KEPT:
            self._full_at.popitem(last=False)
        return self._said(max(0, int((burst_s - ahead) * self.rate + 1e-6)), math.ceil(ahead))

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
