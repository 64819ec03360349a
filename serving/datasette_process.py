"""`python -m serving.datasette_process`: one release's Datasette on a socket that the server made. `serving.apart` starts it.

It lives as long as its standard input is open, gives way to lookups, and takes no more memory than it is given: what asks for more
is refused, and where the system is out of memory this process goes first.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path

import uvicorn
from datasette.plugins import pm

from serving.site import Site
from warehouse.layout import Release

NICE = 5
DATA_MIB, SQLITE_MIB = 320, 96
LATE_S = 5.0
OVERDUE = 75


def main(folder: str, catalog: str, socket_folder: str, listening: str, query_ms: str, allow_download: str) -> None:
    threading.Thread(target=_end_with_input, args=(socket_folder,), daemon=True).start()
    _limit_memory()
    pm.unregister(name="datasette.handle_exception")  # it prints tracebacks with what a request holds; the plugin answers instead
    site = Site(Release(Path(folder)), Path(catalog), query_ms=int(query_ms), allow_download=allow_download == "1")
    threading.Thread(target=_end_overdue, args=(site, int(query_ms) / 1000 + LATE_S), daemon=True).start()
    config = uvicorn.Config(
        site.datasette.app(), log_config=None, access_log=False, server_header=False, date_header=False, lifespan="on",
        forwarded_allow_ips="*",
    )  # fmt: skip
    os.nice(NICE)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(listening))])


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_MIB << 20, DATA_MIB << 20))
    try:
        Path("/proc/self/oom_score_adj").write_text("900")
    except OSError:
        pass  # no Linux, or not allowed: the limits above hold all the same
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"pragma hard_heap_limit = {SQLITE_MIB << 20}")  # of this process, whatever connection asks
    connection.close()


def _end_with_input(socket_folder: str) -> None:
    """End when the server does, even where it was killed, and leave nothing."""
    sys.stdin.buffer.read()
    shutil.rmtree(socket_folder, ignore_errors=True)
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
