"""Load for a server: an HTTP/1.1 client of a few keep-alive connections, in a process of its own.

One loop over the readiness of the sockets, because a client that costs more than the server would measure itself. A
request is sent when a connection is free or, at a given rate, when it is due. One that was due while no connection was
free counts its latency from then, so that a server that stalls is not spared the requests that it kept waiting.
"""

from __future__ import annotations

import multiprocessing
import selectors
import signal
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from jobs.bench.wire import LATE_S, Wire

_TICK_S = 0.05


class Observed(NamedTuple):
    """One answer as `observe` reads it, when its request was sent and when it was whole (time.monotonic)."""

    index: int
    sent_at: float
    done_at: float
    value: Any


@dataclass
class Outcome:
    """Answers to a load: answers by status, requests that got none, seconds and the client's own CPU seconds."""

    statuses: Counter = field(default_factory=Counter)
    n_broken: int = 0
    seconds: float = 0.0
    client_cpu_s: float = 0.0
    latencies_s: array = field(default_factory=lambda: array("d"))
    observed: list[Observed] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.latencies_s)

    @property
    def n_errors(self) -> int:
        """Answers that are neither 2xx nor 304, and requests without an answer."""
        return self.n_broken + sum(n for status, n in self.statuses.items() if status != 304 and not 200 <= status < 300)

    @property
    def per_s(self) -> float:
        return self.n / self.seconds if self.seconds else 0.0

    def ms(self, percent: float) -> float:
        """A percentile of the latencies, in milliseconds; 0 if nothing was answered."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1e3 if ordered else 0.0


@dataclass(frozen=True)
class Plan:
    """ask(index) gives the bytes of a request, observe(index, body) what to keep of its answer (None: nothing). Both
    run in the client's process, so they are functions of a module, or `functools.partial`s of such."""

    address: tuple[str, int]
    ask: Callable[[int], bytes]
    seconds: float
    connections: int = 16
    at_most: int | None = None
    per_s: float | None = None
    observe: Callable[[int, bytes], Any] | None = None


def drive(plan: Plan, is_stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Send requests until time or number is up, is_stopped() says so or the server is gone; those under way get LATE_S to answer."""
    outcome, selector = Outcome(), selectors.DefaultSelector()
    free: deque[Wire] = deque()
    busy: set[Wire] = set()

    def connect() -> None:
        """Raises OSError if nothing listens."""
        wire = Wire(plan.address)
        selector.register(wire, selectors.EVENT_READ, wire)
        free.append(wire)

    def broken(wire: Wire) -> None:
        selector.unregister(wire)
        wire.close()
        if wire in busy:
            busy.remove(wire)
            outcome.n_broken += 1
        else:  # it was idle for longer than the server allows
            free.remove(wire)
        with suppress(OSError):  # a server that is gone ends the load with its last connection
            connect()

    def receive(wire: Wire) -> None:
        answer = wire.receive()
        if answer is None:
            return
        now = time.monotonic()
        busy.discard(wire)
        free.append(wire)
        wire.free_since = now
        outcome.statuses[answer[0]] += 1
        outcome.latencies_s.append(now - wire.sent_at)
        value = plan.observe(wire.index, answer[1]) if plan.observe and answer[0] < 300 else None
        if value is not None:
            outcome.observed.append(Observed(wire.index, wire.sent_at, now, value))

    sent, cpu, started = 0, time.process_time(), time.monotonic()
    looked, is_over, over_at = started, False, inf
    try:
        for _ in range(plan.connections):
            connect()
        started = time.monotonic()
        while True:
            now = time.monotonic()
            if now - looked > _TICK_S:
                looked, is_over = now, is_over or is_stopped()
            is_over = is_over or now - started >= plan.seconds or sent == plan.at_most
            while free and not is_over and (plan.per_s is None or sent <= (now - started) * plan.per_s):
                wire = free.popleft()
                due, now = started + sent / (plan.per_s or inf), time.monotonic()
                wire.index, wire.sent_at = sent, due if plan.per_s and due < wire.free_since else now
                raw, sent = plan.ask(sent), sent + 1
                busy.add(wire)
                try:
                    wire.socket.sendall(raw)
                except OSError:
                    broken(wire)
                is_over = is_over or sent == plan.at_most
            over_at = min(over_at, now) if is_over else inf
            if not free and not busy or is_over and (not busy or now - over_at > LATE_S):
                break
            left_s = started + sent / plan.per_s - time.monotonic() if plan.per_s and free and not is_over else _TICK_S
            for key, _ in selector.select(min(max(left_s, 0.0), _TICK_S)):
                try:
                    receive(key.data)
                except OSError:
                    broken(key.data)
    finally:
        outcome.seconds = time.monotonic() - started
        outcome.client_cpu_s = time.process_time() - cpu
        outcome.n_broken += len(busy)
        for wire in (*free, *busy):
            wire.close()
        selector.close()
    return outcome


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off while a process starts: half started it would end with a traceback. It begins with SIGINT blocked, since Ctrl-C reaches the
    whole group, and who asked ends the load.

    A blocked signal goes to another thread, and Python handles it in the main one all the same, so it is noted and raised at the end.
    """
    asked: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: asked.append(number)) if is_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if asked:
        raise KeyboardInterrupt


class Loading:
    """A plan being driven by another process. Leaving the `with` ends it, whatever it was doing."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._limit_s = plan.seconds + 3 * LATE_S
        self._process = context.Process(target=_drive, args=(plan, theirs), daemon=True)
        resource_tracker.ensure_running()  # it unblocks signals when it starts, so it starts before they are blocked
        with _uninterrupted():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Loading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()
        self._ours.close()

    def wait_begun(self) -> None:
        self._take()

    def stop(self) -> None:
        """Ask for no new request; `outcome` then comes soon."""
        self._ours.send("stop")

    def outcome(self) -> Outcome:
        return self._take()

    def _take(self) -> Any:
        if not self._ours.poll(self._limit_s):
            raise TimeoutError(f"the client did not report within {self._limit_s:g} s")
        report = self._ours.recv()
        if isinstance(report, Exception):
            raise report
        return report


def _drive(plan: Plan, report: Connection) -> None:
    try:
        report.send("begun")
        report.send(drive(plan, report.poll))
    except Exception as error:  # told to the process that asked, whatever it is
        report.send(error)


def loaded(plan: Plan) -> Outcome:
    """Drive a plan in a process of its own, from beginning to end."""
    with Loading(plan) as loading:
        loading.wait_begun()
        return loading.outcome()
