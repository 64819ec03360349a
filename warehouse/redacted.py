"""A copy of a release's databases without the rows of users who asked to be forgotten: what pages, SQL and downloads are read from.

A sealed release is not changed. Hiding its rows would not be exact: SQL reaches a table behind a view by `main.users`, and what an
authorizer may know of a query does not tell the view from a common table expression of the same name. A copy has nothing to reach.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from warehouse.forgotten import Forgotten, named_in, refused_of
from warehouse.layout import Release
from warehouse.release import read_manifest
from warehouse.shards import BY_USER


def redact(release: Release, known: Forgotten, folder: Path, *, is_for_download: bool) -> Release:
    """Copy the databases and the manifest of a release into a folder of its name, less the users of the list. The manifest counts
    what is left. For a download the files are written anew: where rows were deleted their bytes may stand on in a file."""
    made = Release(folder / release.id)
    made.folder.mkdir()
    users, lines = named_in(release, known), refused_of(release, known)
    removed: Counter[str] = Counter()
    for path in dict.fromkeys([release.database, *release.user_databases]):
        copy = made.folder / path.name
        shutil.copyfile(path, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            for pragma in ("journal_mode = off", "synchronous = off"):
                connection.execute(f"pragma {pragma}")
            removed += _leave_out(connection, users, lines)
            if is_for_download:
                anew = copy.with_suffix(".new")
                connection.execute("vacuum into ?", [str(anew)])
                anew.replace(copy)
    manifest = read_manifest(release)
    counts = {name: n - removed[name] for name, n in manifest.counts.items()}
    made.manifest.write_text(replace(manifest, counts=counts).to_json(), encoding="utf-8")
    return made


def _leave_out(connection: sqlite3.Connection, users: list[int | str], lines: list[tuple[str, int]]) -> Counter[str]:
    """Delete the users' rows and empty the refused lines, of those tables that a database has; returns the rows deleted of each."""
    here = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    removed: Counter[str] = Counter()
    connection.execute("begin")
    for table in BY_USER:
        if table.name in here:
            deleted = connection.executemany(f"delete from {table.name} where user_id = ?", ((user,) for user in users))  # nosec B608  # schemas.tables
            removed[table.name] = max(deleted.rowcount, 0)
    if "quarantine" in here:
        connection.executemany("update quarantine set text = '' where source = ? and line = ?", lines)
    if "sqlite_stat4" in here:  # samples of keys, where SQLite was built to take them
        connection.execute("delete from sqlite_stat4")
    connection.execute("commit")
    return removed
