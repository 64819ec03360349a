"""A process beside the server for long answers: histories of many rows, many items to leave out, long lists and their pages hold up no lookup there.

It starts with the first of them, gives way to lookups, and ends with the server, even where that was killed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import logging
import signal
import subprocess  # nosec B404  # it starts this very module
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from serving.gives_way import give_way
from serving.opened import OpenRelease
from serving.response import RequestError
from warehouse.layout import Release

log = logging.getLogger("cinematch.serving")

OPEN = 2  # releases: the one that answers, and the one before it or one that is asked for by name
END_S = 5.0


class LongWork:
    """The server's end, which one thread uses: a call is sent, and its result waited for."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def call(self, release: Release, hidden: frozenset[str], function: Callable[..., Any], *arguments: Any) -> Any:
        """Call function(opened, *arguments) in the process, which opens the release for itself, without what is hidden. Raises what the function raises, and
        RequestError (503) if the process ends meanwhile; the next call starts another."""
        try:
            connection = self._begun()
            connection.send((release.folder, hidden, function, arguments))
            is_raised, outcome = connection.recv()
        except (EOFError, OSError):
            self.close()
            log.error("the process for long answers ended while it worked; the next one starts it again")
            raise RequestError("what makes long answers ended meanwhile; ask again in a second", 503, {"retry-after": "1"}) from None
        if is_raised:
            raise outcome
        return outcome

    def _begun(self) -> Connection:
        if self._process is not None and self._process.poll() is not None:
            log.error("the process for long answers ended with %s; it starts again", self._process.returncode)
            self.close()
        if self._connection is None:
            self._connection, theirs = Pipe()
            with theirs:
                self._process = subprocess.Popen(  # nosec B603  # no shell; our own module
                    [sys.executable, "-m", "serving.long_work", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0,
                )  # fmt: skip
        return self._connection

    def close(self) -> None:
        """End the process: it leaves when nobody holds the other end."""
        if self._connection is None or self._process is None:
            return
        self._connection.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None


def main(fileno: str) -> None:
    """Answer calls until the server hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    give_way()
    with Connection(int(fileno)) as connection, suppress(EOFError, OSError):
        releases: dict[tuple[Path, frozenset[str]], OpenRelease] = {}
        while True:
            folder, hidden, function, arguments = connection.recv()
            try:
                answer = False, function(_opened(releases, folder, hidden), *arguments)
            except Exception as error:
                answer = True, error
            connection.send(answer)


def _opened(releases: dict[tuple[Path, frozenset[str]], OpenRelease], folder: Path, hidden: frozenset[str]) -> OpenRelease:
    """The release, opened when it is first asked for; the server has verified it. The one that was asked least recently is closed."""
    key = (folder, hidden)
    releases[key] = releases.pop(key) if key in releases else OpenRelease(Release(folder), hidden)
    for oldest in list(releases)[:-OPEN]:
        releases.pop(oldest).retire()
    return releases[key]


if __name__ == "__main__":
    main(*sys.argv[1:])
