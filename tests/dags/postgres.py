"""A PostgreSQL cluster of one's own on this machine, for as long as it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dags.running import free_port

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin")]


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps them off the PATH."""
    on_path = [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next((place for place in [*PLACES, *on_path] if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


@contextmanager
def cluster() -> Iterator[str]:
    """A running cluster that listens on the loopback device alone; the address of its database `airflow`."""
    folder, port, at = Path(tempfile.mkdtemp(prefix="cinematch-pg-")), free_port(), binaries()
    as_user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(*command: object) -> None:
        subprocess.run([*as_user, *map(str, command)], check=True, cwd=folder, timeout=60, stdout=subprocess.DEVNULL)

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(at / "initdb", "-D", folder / "data", "-U", "airflow", "--auth=trust", "--encoding=UTF8")
        run(at / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-o", options, "-w", "start")
        try:
            run(at / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "airflow", "airflow")
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/airflow"
        finally:
            run(at / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
