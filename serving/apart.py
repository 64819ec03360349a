"""Datasette in a process of its own, one a release: what its pages cost holds up no lookup, and what kills it kills nothing else.

It starts with the first request that it is to answer, starts again where it died or a user was forgotten, and ends with its release.
It listens on a Unix socket in a folder that nobody else may enter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, IO

from schemas.settings import Settings
from serving.forgotten import ForgottenUsers
from serving.opened import OpenRelease
from serving.response import RequestError
from warehouse.forgotten import Forgotten
from warehouse.layout import Release

log = logging.getLogger("cinematch.serving")

BUFFER = 1 << 16
AGAIN_S = 1.0  # a process that dies at once is not started more often than that
END_S = 5.0
MAKING = "making"  # beside the socket while the copy is not ready
MAKING_S = 2.0  # a request waits so long for a copy without the forgotten users


class Apart:
    """The process that answers for one release, without the users who were forgotten when it started; it starts again when the list
    changes, and until then nothing is answered."""

    def __init__(self, release: Release, settings: Settings, forgotten: ForgottenUsers) -> None:
        self._release, self._settings, self._forgotten = release, settings, forgotten
        self._without: Forgotten | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._starting = asyncio.Lock()
        self._started_at = -AGAIN_S
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def is_outdated(self) -> bool:
        """Whether it is alive and shows users who were forgotten since."""
        return self._process is not None and self._process.poll() is None and self._without != self._forgotten.known

    async def start(self) -> None:
        """Start the process where none is alive, or users were forgotten since. Raises RequestError (503) if it died a moment ago."""
        async with self._starting:
            known, is_alive = self._forgotten.known, self._process is not None and self._process.poll() is None
            if is_alive and self._without == known or self._is_closed:
                return
            if not is_alive:
                if time.monotonic() - self._started_at < AGAIN_S:
                    raise RequestError("the pages of Datasette are starting again; ask again in a second", 503, {"retry-after": "1"})
                if self._process is not None:
                    log.error("Datasette of release %s ended with %s; it starts again", self._release.id, self._process.returncode)
            self._started_at = time.monotonic()
            await asyncio.to_thread(self._start, known)

    async def connect(self, wait_s: float = MAKING_S) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the process, which may still be starting. Raises OSError if it is dying this moment, RequestError (503)
        where its copy without forgotten users takes longer than is waited for."""
        await self.start()
        started = time.monotonic()
        while (Path(self._folder) / MAKING).exists() and cast(subprocess.Popen[bytes], self._process).poll() is None:
            if time.monotonic() - started > wait_s:
                raise RequestError(
                    "tables and SQL are being made anew without users who were forgotten; ask again in a few seconds",
                    503,
                    {"retry-after": "5"},
                )
            await asyncio.sleep(0.02)
        return await asyncio.open_unix_connection(str(Path(self._folder) / "datasette"), limit=BUFFER)

    async def ready(self) -> None:
        """Return when the process answers."""
        reader, writer = await self.connect(float("inf"))
        try:
            writer.write(b"HEAD /-/settings.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            await reader.read()
        finally:
            writer.close()

    def _start(self, known: Forgotten) -> None:
        self._end()
        usual = tempfile.gettempdir()  # the address of a socket may have some hundred bytes
        within = usual if len(os.fsencode(usual)) < 64 else "/tmp"  # nosec B108  # mkdtemp makes a folder there that is closed to others
        self._folder = tempfile.mkdtemp(prefix="cinematch-", dir=within)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(Path(self._folder) / "datasette"))
            listening.listen(256)
            if known:
                (Path(self._folder) / MAKING).touch()
            self._process = subprocess.Popen(  # nosec B603  # no shell; our own module, paths of the operator
                [
                    sys.executable, "-m", "serving.datasette_process", str(self._release.folder),
                    self._settings.warehouse, self._folder, str(Path(self._folder) / MAKING), str(listening.fileno()),
                    str(self._settings.query_ms), str(int(self._settings.allow_download)),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[listening.fileno()], process_group=0,
            )  # fmt: skip
        self._without = known
        told = cast(IO[bytes], self._process.stdin)
        try:
            told.write(json.dumps({"salt": known.salt, "digests": sorted(known.digests)}).encode() + b"\n")
            told.flush()
        except BrokenPipeError:
            return  # it died; the next request starts another

    def _end(self) -> None:
        """End what was started; closing its standard input is enough."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                cast(IO[bytes], self._process.stdin).close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """End the process; it is waited for by a thread, because lookups go on meanwhile."""
        self._is_closed = True
        if self._process is not None:
            threading.Thread(target=self._end, name="end").start()


async def _again(apart: Apart) -> None:
    with suppress(RequestError):  # it died this moment; the next request starts it
        await apart.start()


class Datasettes:
    """The processes of the releases that answer at present. Pages go over to a new release when its process is ready, a moment
    after the lookups; each of them is of one release all the same."""

    def __init__(self, settings: Settings, opened: OpenRelease, forgotten: ForgottenUsers) -> None:
        self._settings, self._forgotten = settings, forgotten
        self._by_release: dict[OpenRelease, Apart] = {}
        self._wanted = self._shown = opened.hold()
        self._preparing: asyncio.Task[Any] | None = None
        self._restarting: asyncio.Task[Any] | None = None

    @property
    def shown(self) -> OpenRelease:
        """The release whose pages are shown."""
        return self._shown

    def of(self, opened: OpenRelease) -> Apart:
        apart = self._by_release.get(opened)
        if apart is None:
            apart = self._by_release[opened] = Apart(opened.files, self._settings, self._forgotten)
            opened.on_close.append(lambda: self._by_release.pop(opened).close())
        return apart

    def look(self) -> None:
        """Start processes again that show users who were forgotten since; what they were answering is cut short."""
        for apart in self._by_release.values():
            if apart.is_outdated and (self._restarting is None or self._restarting.done()):
                self._restarting = asyncio.get_running_loop().create_task(_again(apart))

    def show(self, opened: OpenRelease) -> None:
        """A release begins to answer: where pages of the one before were asked for, its own get ready first."""
        self._wanted = opened
        if not self.of(self._shown).is_running:
            self._move()
        elif self._preparing is None or self._preparing.done():
            self._preparing = asyncio.get_running_loop().create_task(self._prepare())

    async def _prepare(self) -> None:
        """Start one process after the other, so that they do not keep each other from starting, and none that nobody wants by then."""
        await self._ready(self._shown)
        while self._shown is not self._wanted:
            wanted = self._wanted
            await self._ready(wanted)
            if wanted is self._wanted:
                self._move()

    async def _ready(self, opened: OpenRelease) -> None:
        opened.hold()
        try:
            await self.of(opened).ready()
        except (RequestError, OSError) as error:
            log.error("Datasette of release %s is late: %s", opened.id, error)
        finally:
            opened.let_go()

    def _move(self) -> None:
        before, self._shown = self._shown, self._wanted.hold()
        before.let_go()

    def close(self) -> None:
        for task in (self._preparing, self._restarting):
            if task is not None:
                task.cancel()
        self._shown.let_go()
