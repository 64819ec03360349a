"""Several server processes on one port and one warehouse: each is a whole server, and the kernel deals connections out to them.

They share what is on disk: the mapped release, and overlay.db, where each asks before every answer whether anything was committed since;
so a rating that one of them acknowledged is in the next answer of every other. One that dies is started again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from schemas.errors import CineMatchError, UsageError

log = logging.getLogger("cinematch.serving")

AGAIN_S = 1.0  # one that dies at once is not started more often than that
BACKLOG = 1024

Serve = Callable[[socket.socket, Callable[[], None] | None], None]
"""Serves on a socket until a signal; the first worker also calls what it is given once it listens."""


def listen(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """A socket that takes connections; others of this user may take some of the same port if it is shared. Raises UsageError."""
    try:
        listening = _bound(host, port, is_shared=is_shared)
        listening.listen(BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}; give another --port, or --port 0 for any") from None
    listening.setblocking(False)
    return listening


def _bound(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only if the protocol is named
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound


class Workers:
    """The process that starts the workers and waits for them. It holds the port, serves nothing itself, and has no threads."""

    def __init__(self, n: int, host: str, port: int, serve: Serve) -> None:
        with listen(host, port) as free:  # a port that is shared could be shared with a stranger's server
            port = free.getsockname()[1]
        self._n, self._host, self._serve = n, host, serve
        self._held = _bound(host, port, is_shared=True)
        self._port = port
        self._alive, self._ours = os.pipe()  # nobody writes; it ends with this process
        self._started: dict[int, float] = {}
        self._is_stopping = False

    def run(self) -> int:
        """Serve until a signal; returns the exit status, that of the first worker where it cannot even start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        is_ready, told = os.pipe()
        first = self._start(told)
        os.close(told)
        if not os.read(is_ready, 1):
            status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
            return 0 if self._is_stopping else status
        os.close(is_ready)
        for _ in range(self._n - 1):
            self._start()
        while self._started:
            self._wait()
        return 0

    def _wait(self) -> None:
        """Wait for the end of a worker, and start another where that was not asked for."""
        pid, status = os.wait()
        started, code = self._started.pop(pid), os.waitstatus_to_exitcode(status)
        if self._is_stopping:
            return
        log.error("worker %d ended with %d; another one starts", pid, code)
        time.sleep(max(0.0, AGAIN_S - (time.monotonic() - started)))
        if not self._is_stopping:
            self._start()

    def _start(self, told: int | None = None) -> int:
        pid = os.fork()
        if pid == 0:
            self._work(told)
        self._started[pid] = time.monotonic()
        if self._is_stopping:  # the signal came before this one was known
            os.kill(pid, signal.SIGTERM)
        return pid

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopping = True
        for pid in self._started:
            os.kill(pid, signal.SIGTERM)

    def _work(self, told: int | None) -> NoReturn:
        """Be a worker, to the end of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._ours)
        self._held.close()
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        status = 0
        try:
            self._serve(listen(self._host, self._port, is_shared=True), None if told is None else lambda: _tell(told))
        except CineMatchError as error:
            print(f"cinematch: {error}", file=sys.stderr)
            status = error.exit_code
        except KeyboardInterrupt:
            pass
        except BaseException:
            traceback.print_exc()
            status = 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)


def _tell(told: int) -> None:
    os.write(told, b"1")
    os.close(told)
