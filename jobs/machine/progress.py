"""Progress of long work: a bar in a terminal, plain lines in a log; and the figures of a finished step."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

import psutil
from tqdm import tqdm

LINE_EVERY_S = 10.0


class Progress:
    """Counts towards a total (or without one); on standard error, where results are not."""

    def __init__(self, label: str, *, total: int | None = None, unit: str) -> None:
        self._bar = tqdm(
            total=total,
            desc=label,
            unit=f" {unit}",
            file=sys.stderr,
            leave=False,
            mininterval=0.2,
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        )
        self._label, self._total, self._unit = label, total, unit
        self._done, self._started, self._said = 0, time.monotonic(), time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def add(self, n: int) -> None:
        self.at(self._done + n)

    def at(self, done: int) -> None:
        self._bar.update(done - self._done)
        self._done, now = done, time.monotonic()
        if self._bar.disable and now - self._said > LINE_EVERY_S:
            self._said = now
            print(f"{self._label}: {self._line(now - self._started)}", file=sys.stderr, flush=True)

    def _line(self, elapsed: float) -> str:
        rate = self._done / elapsed
        speed = f"{rate:,.0f} a second" if rate >= 10 else f"{60 * rate:,.1f} a minute"
        if not self._total:
            return f"{self._done:,} {self._unit}, {speed}"
        if self._total == 1 or not self._done:
            return f"{elapsed:,.0f} s so far" + (f", {self._total:,} {self._unit} at work" if self._total > 1 else "")
        return f"{self._done:,} of {self._total:,} {self._unit}, {speed}, about {(self._total - self._done) / rate:,.0f} s left"


class PeakMemory:
    """Peak resident memory of this process and everything that it started, sampled from a thread, in MiB."""

    def __init__(self, every_s: float = 0.2) -> None:
        self.mib = 0.0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self._sample()

    def _sample(self) -> None:
        self.mib = max(self.mib, tree_mib())


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tree_mib() -> float:
    """Resident memory of this process and its descendants now, MiB. Pages that they share are counted once each (PSS) where
    the system tells, since forked workers share most of theirs."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, AttributeError):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    return total / 2**20
