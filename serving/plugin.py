"""The Datasette plugin: a table of contents. Where no server of ours was started, it adds nothing."""

from __future__ import annotations

from datasette import hookimpl

from serving.site import application, metadata


@hookimpl(trylast=True)  # the outermost wrapper is the last one
def asgi_wrapper(datasette):
    """Answers the product's routes before Datasette's router."""
    return application(datasette)


@hookimpl
def get_metadata(datasette):
    """Describes tables and columns of the release that is open, and its canned queries."""
    return metadata(datasette)
