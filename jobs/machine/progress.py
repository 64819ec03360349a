"""Progress of long work: a bar in a terminal, plain lines in a log; and the figures of a finished step."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import psutil
from tqdm import tqdm

LINE_EVERY_S = 10.0
SHARE = 0.02  # of a processor, at most, for sampling memory


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
    """Peak resident memory of this process and everything that it started, sampled from a thread, in MiB.

    The system walks all pages of a process to tell what it shares, so a sample looks that far only when memory may have passed the
    peak, and samples come so seldom that they take no more than SHARE of a processor.
    """

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
        pause = self._every_s
        while not self._stop.wait(pause):
            before = time.thread_time()
            self._sample()
            pause = max(self._every_s, (time.thread_time() - before) / SHARE)

    def _sample(self) -> None:
        processes = tree()
        if _mib(processes, psutil.Process.memory_info, "rss") > self.mib:
            self.mib = max(self.mib, _mib(processes, psutil.Process.memory_full_info, "pss"))


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tree() -> list[psutil.Process]:
    """Return this process and its descendants now."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def tree_mib() -> float:
    """Measure the resident memory of this process and its descendants now, MiB. Pages that they share are counted once each (PSS) if
    the system tells, since forked workers share most of theirs."""
    return _mib(tree(), psutil.Process.memory_full_info, "pss")


def _mib(processes: list[psutil.Process], ask: Callable[[psutil.Process], Any], name: str) -> float:
    """Sum what the processes answer; a system that does not tell it of one tells its resident memory, which is no less."""
    total = 0
    for process in processes:
        try:
            total += getattr(ask(process), name)
        except (psutil.Error, AttributeError):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    return total / 2**20
