"""`python -m serving.datasette_process`: one release's Datasette on a socket that the server made. `serving.apart` starts it.

It lives as long as its standard input is open, gives way to lookups, and takes no more memory than it is given: what asks for more
is refused, and where the system is out of memory this process goes first. The first line of its input is the list of forgotten users:
where the release names one of them, it makes a copy without them first, and answers from that alone.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from pathlib import Path

import uvicorn
from datasette.plugins import pm

from serving.gives_way import give_way
from serving.site import Site
from warehouse import redacted
from warehouse.claims import claimed, discard, sweep
from warehouse.forgotten import Forgotten, names_any
from warehouse.layout import PAGES, Release, Warehouse

DATA_MIB, SQLITE_MIB = 320, 96
LATE_S = 5.0
OVERDUE = 75


def main(folder: str, warehouse: str, socket_folder: str, making: str, listening: str, query_ms: str, allow_download: str) -> None:
    given = json.loads(sys.stdin.buffer.readline())
    release, within = Release(Path(folder)), Warehouse(Path(warehouse))
    copy = within.staged(f"{PAGES}{os.getpid()}-{secrets.token_hex(4)}")
    threading.Thread(target=_end_with_input, args=(Path(socket_folder), copy), daemon=True).start()
    _limit_memory()
    give_way()
    pm.unregister(name="datasette.handle_exception")  # it prints tracebacks with what a request holds; the plugin answers instead
    known = Forgotten(given["salt"], frozenset(given["digests"]))
    with ExitStack() as stack:
        if names_any(release, known):
            room = stack.enter_context(_room(within, copy, Path(socket_folder)))
            try:
                release = redacted.redact(release, known, room, is_for_download=allow_download == "1")
            except (OSError, sqlite3.Error) as error:
                sys.exit(f"release {release.id} cannot be copied without its forgotten users, so no table of it is shown: {error}")
        Path(making).unlink(missing_ok=True)
        _answer(release, within.catalog, int(listening), int(query_ms), allow_download == "1")


@contextmanager
def _room(warehouse: Warehouse, copy: Release, socket_folder: Path) -> Iterator[Path]:
    """A folder for the copy: in staging, where whoever builds or serves next removes what a killed process left; or beside the
    socket where the warehouse cannot be written to."""
    with ExitStack() as stack:
        try:
            sweep(warehouse)
            stack.enter_context(claimed(copy))
        except OSError:
            yield socket_folder
        else:
            yield copy.folder


def _answer(release: Release, catalog: Path, listening: int, query_ms: int, allow_download: bool) -> None:
    site = Site(release, catalog, query_ms=query_ms, allow_download=allow_download)
    threading.Thread(target=_end_overdue, args=(site, query_ms / 1000 + LATE_S), daemon=True).start()
    config = uvicorn.Config(
        site.datasette.app(), log_config=None, access_log=False, server_header=False, date_header=False, lifespan="on",
        forwarded_allow_ips="*",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_MIB << 20, DATA_MIB << 20))
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"pragma hard_heap_limit = {SQLITE_MIB << 20}")  # of this process, whatever connection asks
    connection.close()


def _end_with_input(socket_folder: Path, copy: Release) -> None:
    """End when the server does, even where it was killed, and leave nothing."""
    sys.stdin.buffer.read()
    shutil.rmtree(socket_folder, ignore_errors=True)
    try:
        discard(copy)
    except OSError:
        pass
    os._exit(0)


def _end_overdue(site: Site, limit_s: float) -> None:
    """End where a query goes on long after its time: a single function call of SQLite cannot be interrupted otherwise."""
    while True:
        time.sleep(0.25)
        if any(time.monotonic() - began > limit_s for began in list(site.running.values())):
            os.write(2, b"a query went on long after its time; Datasette starts again\n")
            os._exit(OVERDUE)


if __name__ == "__main__":
    main(*sys.argv[1:])
