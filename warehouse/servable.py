"""Whether a release whose files are whole can be served: what its manifest says and what its files hold fit together."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.tables import CHECKS, ITEMS, TABLES, USERS
from warehouse import model_files
from warehouse.layout import Release
from warehouse.sqlite import open_immutable

_KINDS = {"int64": ("integer", "iu"), "string": ("text", "U")}  # in SQLite, and in NumPy


def check(release: Release, manifest: Manifest) -> None:
    """Open it as a server does. Raises ReleaseError if that cannot be."""
    try:
        with closing(open_immutable(release.database)) as connection:
            for table in TABLES.values():
                if table is CHECKS:  # from which nothing is served, and which releases of before do not have
                    continue
                connection.execute(f"select * from {table.name} limit 1").fetchall()  # nosec B608  # schemas.tables
            for table, role in ((USERS, "user_id"), (ITEMS, "item_id")):
                row = connection.execute(f"select typeof({role}) from {table.name} limit 1").fetchone()  # nosec B608  # schemas.tables
                _fits(release, role, manifest.ids[role], row[0] if row else _KINDS[manifest.ids[role]][0])
        for folder in sorted(release.models.iterdir()):
            arrays, parameters = model_files.load(folder)
            if folder.name == "items":
                ids, _ = arrays["item_ids"], parameters["genres"]
        kind = _KINDS[manifest.ids["item_id"]]
        _fits(release, "item_id", manifest.ids["item_id"], kind[0] if ids.dtype.kind in kind[1] else str(ids.dtype))
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError, NameError) as error:
        raise ReleaseError(f"release {release.id} cannot be opened ({error}); roll back, or import a good copy") from None


def _fits(release: Release, role: str, declared: str, actual: str) -> None:
    if actual != _KINDS[declared][0]:
        raise ReleaseError(
            f"release {release.id}: {role} is {actual}, where manifest.json says {declared}; roll back, or import a good copy"
        )
