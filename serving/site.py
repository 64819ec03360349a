"""Datasette around a release: the database under its route, its descriptions, and the wrapper in front."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from datasette.app import Datasette
from datasette.database import Database
from datasette import handle_exception  # after app: it registers itself as a plugin while app is imported

from serving.asgi import App, Application
from serving.drain import Drain
from serving.opened import OpenRelease
from serving.routes import table
from serving.service import Service
from serving.swap import Follower
from warehouse.queries import canned_queries

ROUTE = "cinematch"
TEMPLATES = Path(__file__).with_name("templates")

# Where something else has brought `rich` along, Datasette prints the locals of every frame of every error, refused queries
# included: users' data in the log, and half a minute of the server's time.
handle_exception.rich = None


class ReleaseDatabase(Database):
    """A release as Datasette reads it; a query that fails is answered, and not printed with its parameters, which are users' ids."""

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        return await super().execute(*arguments, **{**named, "log_sql_errors": False})


class Site:
    """A Datasette that serves the service's release under /cinematch, and what the plugin's hooks give it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.datasette = Datasette(
            [],
            template_dir=str(TEMPLATES),
            settings={
                "sql_time_limit_ms": service.settings.query_ms,
                "allow_download": service.settings.allow_download,
                "suggest_facets": False,
                "default_page_size": 50,
                "num_sql_threads": 3,
            },
        )
        self.datasette.remove_database("_memory")
        self.datasette.cinematch = self
        self.metadata: dict[str, Any] = {}
        self.drain = Drain()
        self._n_shown = 0
        service.jinja = self.datasette.jinja_env
        service.routes = table(is_read_only=service.settings.read_only)
        self.show(service.current)
        follower = Follower(service, self.show)
        service.follow = follower.follow
        service.at_start.append(follower.start)
        service.at_stop.append(follower.stop)

    def wrapper(self, inner: App) -> Application:
        return Application(self.service, inner, self.drain)

    def show(self, opened: OpenRelease) -> None:
        """Make a release the one under /cinematch, by one assignment.

        Connections are cached by name, so a name is never used twice; the release before stays under its own name until
        the requests that began with it have ended.
        """
        self._n_shown += 1
        database = ReleaseDatabase(self.datasette, str(opened.files.database), is_mutable=False)
        database.name = opened.id if self._n_shown == 1 else f"{opened.id}-{self._n_shown}"
        database.route = ROUTE
        database._cached_table_counts = dict(
            opened.manifest.counts
        )  # counting millions of rows again would delay the first page
        described = _described(opened, database.name)
        self.metadata = {**described, "databases": {**self.metadata.get("databases", {}), **described["databases"]}}
        before = self.datasette.databases
        kept = {name: other for name, other in before.items() if other.route != ROUTE}
        old = {name: other for name, other in before.items() if other.route == ROUTE}
        self.datasette.databases = {**kept, database.name: database, **old}
        opened.on_close.append(lambda: self._forget(database))

    def _forget(self, database: Database) -> None:
        """Take a retired release's name away, and close it once no request can have seen the name."""
        self.datasette.databases = {
            name: other for name, other in self.datasette.databases.items() if other is not database
        }
        databases = {name: described for name, described in self.metadata["databases"].items() if name != database.name}
        self.metadata = {**self.metadata, "databases": databases}
        self.drain.after(lambda: self._close(database))

    def _close(self, database: Database) -> None:
        database.close()
        database._all_file_connections.clear()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the server has ended, and its notes with it
            return
        if self.datasette.internal_db_created:
            self._forgetting = loop.create_task(self._forget_schema(database.name))

    async def _forget_schema(self, name: str) -> None:
        """What Datasette noted of a database when it first saw it."""
        internal = self.datasette.databases["_internal"]
        for noted in ("foreign_keys", "indexes", "columns", "tables", "databases"):
            await internal.execute_write(f"delete from {noted} where database_name = ?", [name])


def _described(opened: OpenRelease, name: str) -> dict[str, Any]:
    """The descriptions sealed with the release, and every query of today."""
    sealed = json.loads((opened.files.folder / "metadata.json").read_text(encoding="utf-8"))
    described = sealed["databases"][ROUTE]
    return {
        "title": sealed["title"],
        "description": sealed["description"],
        "databases": {name: {**described, "queries": {**described.get("queries", {}), **canned_queries()}}},
    }
