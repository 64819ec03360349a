"""The Datasette plugin: a table of contents. On a Datasette that `serving.datasette_process` did not begin, every hook is silent."""

from __future__ import annotations

import sqlite3
from typing import Any

from datasette import hookimpl
from datasette.utils.asgi import BadRequest

from serving import sql_limits
from warehouse import shards


@hookimpl
def asgi_wrapper(datasette: Any) -> Any:
    """Says what a page may load, and answers what fails before Datasette looks: `serving.site`."""
    site = getattr(datasette, "cinematch", None)
    return site and site.wrapper


@hookimpl
def prepare_connection(conn: sqlite3.Connection, database: str, datasette: Any) -> None:
    """Attaches the shards of a release that has any, so that SQL finds its users, and bounds what SQL may take and touch."""
    if getattr(datasette, "cinematch", None) and database != "_internal":
        shards.attach_beside(conn)
        sql_limits.bound(conn)
        sql_limits.restrict(conn, BadRequest)


@hookimpl
def get_metadata(datasette: Any) -> Any:
    """Describes the tables and columns of the release, and its canned queries: `serving.site`."""
    site = getattr(datasette, "cinematch", None)
    return site and site.metadata


@hookimpl
def handle_exception(datasette: Any, request: Any, exception: Exception) -> Any:
    """Answers errors without a traceback, and those that Datasette did not foresee as the request's: `serving.site`."""
    site = getattr(datasette, "cinematch", None)
    return site and site.refusal(request, exception)
