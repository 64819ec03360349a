"""Counters of a running server, in Prometheus' text format, and the access log."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TextIO

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
FLUSH_S = 0.05
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Gauges(NamedTuple):
    """How a server stands at one moment.

    release, age_s : the release that answers, and the seconds since it was computed.
    pending, sequence : online ratings that it does not contain, and the number of the last.
    n_problems : what /health/ready complains of.
    is_ready : whether the promoted release answers.
    """

    release: str
    age_s: float
    pending: int
    sequence: int
    n_problems: int
    is_ready: bool


class Metrics:
    """The counters; the event loop alone writes here."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], list[float]] = {}
        self.fallbacks: Counter[str] = Counter()
        self.swaps: Counter[str] = Counter({"served": 0, "refused": 0})
        self.ratings: Counter[str] = Counter({"accepted": 0, "duplicate": 0, "refused": 0})

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "other"  # a client may invent methods, and must not fill memory with them
        try:
            counted = self.requests[method, route, status]
        except KeyError:
            counted = self.requests[method, route, status] = [0, 0.0]
        counted[0] += 1
        counted[1] += seconds

    def text(self, gauges: Gauges) -> str:
        """Return the exposition of the counters, and of the gauges of this moment."""
        labels = {key: f'method="{key[0]}",route="{_escaped(key[1])}",status="{key[2]}"' for key in sorted(self.requests)}
        families: list[tuple[str, str, str, Mapping[str, object]]] = [
            ("requests_total", "counter", "Requests answered.", {labels[k]: self.requests[k][0] for k in labels}),
            (
                "request_seconds_total",
                "counter",
                "Seconds spent answering them.",
                {labels[k]: f"{self.requests[k][1]:.6f}" for k in labels},
            ),
            (
                "fallbacks_total",
                "counter",
                "Lists that were not ranked by the model, by tier.",
                _by("tier", self.fallbacks),
            ),
            ("swaps_total", "counter", "Releases that began to answer, or were refused.", _by("result", self.swaps)),
            (
                "ratings_total",
                "counter",
                "Ratings received online, by what became of them.",
                _by("result", self.ratings),
            ),
            (
                "release_age_seconds",
                "gauge",
                "Seconds since the release was computed.",
                {f'release="{gauges.release}"': f"{gauges.age_s:.0f}"},
            ),
            ("overlay_pending", "gauge", "Online ratings that the release does not contain.", {"": gauges.pending}),
            ("overlay_sequence", "gauge", "Sequence number of the last online rating.", {"": gauges.sequence}),
            ("problems", "gauge", "What /health/ready complains of.", {"": gauges.n_problems}),
            ("ready", "gauge", "1 where the promoted release answers.", {"": int(gauges.is_ready)}),
        ]
        lines = []
        for name, kind, sentence, values in families:
            lines += [f"# HELP cinematch_{name} {sentence}", f"# TYPE cinematch_{name} {kind}"]
            lines += [f"cinematch_{name}{{{label}}} {value}" if label else f"cinematch_{name} {value}" for label, value in values.items()]
        return "\n".join(lines) + "\n"


def _by(label: str, counted: Counter[str]) -> dict[str, int]:
    return {f'{label}="{_escaped(name)}"': n for name, n in sorted(counted.items())}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class AccessLog:
    """One line a request: time, id, method, route, status, milliseconds. Lines of the same moment are written together.

    It names routes and not paths, so no user's id gets into a log that `forget` would have to search.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._numbers = itertools.count(1)
        self._second, self._stamp = 0, ""
        self._start = f"{os.getpid():x}-{int(time.time()):x}"

    def request_id(self, given: bytes | None) -> bytes:
        """The client's own id where it is one word, otherwise the next of ours."""
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return f"{self._start}-{next(self._numbers):x}".encode()

    def line(self, request_id: bytes, method: str, route: str, status: int, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        now = time.time()
        if int(now) != self._second:
            self._second, self._stamp = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        self._lines.append(
            f"{self._stamp}.{int(now % 1 * 1000):03d}Z {request_id.decode()} {method} {route} {status} {seconds * 1e3:.3f} ms\n"
        )

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more; answers matter more than their log
