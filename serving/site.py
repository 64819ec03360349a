"""Datasette around a release: the database under its route, its descriptions, and answers in place of its tracebacks."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from datasette import Response
from datasette.app import Datasette
from datasette.database import Database, QueryInterrupted
from datasette.handle_exception import handle_exception as usual
from datasette.utils.asgi import BadRequest, Base400
from datasette.views.base import DatasetteError

from schemas.derive import datasette_metadata
from serving import catalogue
from serving.content_policy import policy, WithNonces
from serving.static_files import address
from warehouse.layout import Release
from warehouse.queries import canned_queries
from warehouse.release import read_manifest

log = logging.getLogger("cinematch.serving")

ROUTE = "cinematch"
TEMPLATES = Path(__file__).with_name("templates")
_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
_NONCE: ContextVar[str] = ContextVar("nonce", default="")

# Where something else has brought `rich` along, Datasette prints the locals of every frame of every error, refused queries
# included: users' data in the log, and half a minute of the server's time.
usual.__globals__["rich"] = None


class ReleaseDatabase(Database):
    """A release as Datasette reads it. A query that fails is answered, and not printed with its parameters, which are users' ids."""

    running: dict[int, float]

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        return await super().execute(*arguments, **{**named, "log_sql_errors": False})

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        def timed(connection: sqlite3.Connection) -> Any:
            thread = threading.get_ident()
            self.running[thread] = time.monotonic()
            try:
                return fn(connection)
            except MemoryError:
                raise BadRequest("the query needs more memory than one may take; ask for less at once") from None
            finally:
                del self.running[thread]

        return await super().execute_fn(timed)


class CatalogueDatabase(catalogue.Copied, ReleaseDatabase):
    """The catalogue, by the same rules."""


class RoutedDatasette(Datasette):
    """A Datasette that finds the release by its route too, as the links to blobs in its CSV name it."""

    def get_database(self, name: str | None = None, route: str | None = None) -> Database:
        return super().get_database(route=ROUTE) if name == ROUTE else super().get_database(name, route)


class Site:
    """A Datasette that serves a release under /cinematch and the catalogue under /catalog, and what the plugin's hooks give it.
    `running` has when each query began."""

    def __init__(self, release: Release, catalog: Path, *, query_ms: int, allow_download: bool) -> None:
        self.release = release
        self.running: dict[int, float] = {}
        self.datasette = RoutedDatasette(
            [],
            template_dir=str(TEMPLATES),
            settings={
                "sql_time_limit_ms": query_ms,
                "allow_download": allow_download,
                "suggest_facets": False,
                "default_page_size": 50,
                "num_sql_threads": 3,
            },
        )
        self.datasette.remove_database("_memory")
        self.datasette.cinematch = self
        environment = self.datasette.jinja_env
        environment.loader = WithNonces(environment.loader)
        environment.globals |= {"csp_nonce": _NONCE.get, "static": address}
        database = ReleaseDatabase(self.datasette, str(release.database), is_mutable=False)
        database.name, database.route, database.running = release.id, ROUTE, self.running
        # counting millions of rows again would delay the first page
        database._cached_table_counts = dict(read_manifest(release).counts)
        self.datasette.databases = {database.name: database, **self.datasette.databases}
        self.catalogue = catalogue.Catalogue(self.datasette, catalog, self._catalogue_database)
        self._described = _described(release)

    def _catalogue_database(self, *arguments: Any, **named: Any) -> CatalogueDatabase:
        database = CatalogueDatabase(*arguments, **named)
        database.running = self.running
        return database

    @property
    def metadata(self) -> dict[str, Any]:
        """Datasette's metadata of what is shown just now."""
        shown = self.catalogue.shown
        if shown is None:
            return self._described
        databases = self._described["databases"] | {shown.name: catalogue.described()}
        return {**self._described, "databases": databases}

    def wrapper(self, inner: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """An ASGI application around Datasette's: pages say what they may load, and what fails before Datasette looks is answered."""

        async def guarded(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
            if scope["type"] != "http":
                return await inner(scope, receive, send)
            await self.catalogue.look()
            nonce = secrets.token_urlsafe(12)
            _NONCE.set(nonce)
            has_begun = False

            async def noted(message: dict[str, Any]) -> None:
                nonlocal has_begun
                if message["type"] == "http.response.start":
                    has_begun = True
                    # Datasette declares a download both chunked and of a length, which no client may believe
                    headers = [pair for pair in message.get("headers", []) if pair[0].lower() != b"transfer-encoding"]
                    message = {**message, "headers": [*headers, (b"content-security-policy", policy(nonce))]}
                await send(message)

            try:
                await inner(scope, receive, noted)
            except Exception as error:
                if has_begun:
                    raise
                status, message = self.foreseen(error)
                await Response.json({"ok": False, "error": message, "status": status}, status=status).asgi_send(noted)

        return guarded

    async def refusal(self, request: Any, error: Exception) -> Response:
        """Datasette's own page or JSON of an error; one that it did not foresee is the request's fault, and logged in a line."""
        if not (isinstance(error, Base400) or isinstance(error, DatasetteError) and error.status < 500):
            status, message = self.foreseen(error)
            error = DatasetteError(message, status=status)
        return await usual(self.datasette, request, error)()

    def foreseen(self, error: Exception) -> tuple[int, str]:
        """Status and message of an error that Datasette has none for."""
        if isinstance(error, QueryInterrupted):
            return 400, f"the query took longer than {self.datasette.sql_time_limit_ms} ms; ask for less"
        if isinstance(error, MemoryError):
            return 400, "this needs more memory than one request may take; ask for less at once"
        if isinstance(error, sqlite3.Error):
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNREADABLE:
                log.error("release %s cannot be read: %s", self.release.id, error)
                return 503, f"release {self.release.id} cannot be read just now; the log says why"
            return 400, str(error)
        if isinstance(error, DatasetteError):
            return 400, str(error.message)
        where = traceback.extract_tb(error.__traceback__)[-1]
        log.warning("Datasette could not answer: %s in %s, line %s", type(error).__name__, where.name, where.lineno)
        return 400, "Datasette cannot answer this; look at the parameters that begin with _"


def _described(release: Release) -> dict[str, Any]:
    """Descriptions and queries, from this program alone: what a release brings along in metadata.json may be anybody's HTML."""
    declared = datasette_metadata(canned_queries(), read_manifest(release).id_types)
    return {**declared, "databases": {release.id: declared["databases"][ROUTE]}}
