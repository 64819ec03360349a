"""Datasette around a release: the database under its route, its descriptions, and the wrapper in front."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from datasette.app import Datasette
from datasette.database import Database

from serving.opened import OpenRelease
from serving.service import Service
from warehouse.queries import canned_queries

ROUTE = "cinematch"
INTERNAL_TABLES = ("databases", "tables", "columns", "indexes", "foreign_keys")


def site(service: Service) -> Datasette:
    """A Datasette that serves the service's release under /cinematch."""
    datasette = Datasette(
        [], settings={
            "sql_time_limit_ms": service.settings.query_ms, "suggest_facets": False, "default_page_size": 50, "num_sql_threads": 3,
        },
    )
    datasette.remove_database("_memory")
    datasette.cinematch = service
    service.datasette = datasette
    show(datasette, service.current)
    return datasette


def show(datasette: Datasette, opened: OpenRelease, *, instead_of: OpenRelease | None = None) -> None:
    """Make a release the one under /cinematch, by one assignment.

    Connections are cached by name, so a name is never used twice; the release before stays under its own name until the
    requests that began with it have ended.
    """
    service: Service = datasette.cinematch
    service.n_shown += 1
    database = Database(datasette, str(opened.files.database), is_mutable=False)
    database.name = opened.id if service.n_shown == 1 else f"{opened.id}-{service.n_shown}"
    database.route = ROUTE
    database._cached_table_counts = {**opened.manifest.counts}
    opened.database = database
    opened.metadata = _described(opened)
    kept = {name: other for name, other in datasette.databases.items() if other.route != ROUTE}
    before = {name: other for name, other in datasette.databases.items() if other.route == ROUTE}
    datasette.databases = {**kept, database.name: database, **before}
    if instead_of is not None:
        instead_of.on_close.append(lambda: _forget(datasette, instead_of.database))


def _forget(datasette: Datasette, database: Database) -> None:
    """Close a retired release's connections and take its name away."""
    datasette.databases = {name: other for name, other in datasette.databases.items() if other is not database}
    database.close()
    database._all_file_connections.clear()


def _described(opened: OpenRelease) -> dict[str, Any]:
    """The descriptions sealed with the release, and every query of today."""
    sealed = json.loads((opened.files.folder / "metadata.json").read_text(encoding="utf-8"))
    described = sealed["databases"][ROUTE]
    return {
        "title": sealed["title"], "description": sealed["description"],
        "databases": {opened.database.name: {**described, "queries": {**described.get("queries", {}), **canned_queries()}}},
    }


def application(datasette: Datasette) -> Callable[[Any], Any]:
    """The ASGI wrapper; without a service of ours it changes nothing."""
    service = getattr(datasette, "cinematch", None)
    if service is None:
        return lambda inner: inner
    from serving.asgi import Application

    return lambda inner: Application(service, inner)


def metadata(datasette: Datasette) -> dict[str, Any]:
    service = getattr(datasette, "cinematch", None)
    return service.current.metadata if service is not None else {}
