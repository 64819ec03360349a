"""The process: one socket, one event loop, and Datasette in a process beside it; or several of them that share a port."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn

from schemas.settings import Settings
from serving.asgi import Application
from serving.connections import Connection, Connections, most_connections
from serving.guard import is_loopback
from serving.routes import table
from serving.service import Service
from serving.workers import BACKLOG, listen, Workers
from warehouse.layout import Warehouse

SWITCH_S = 0.0001


def serve(settings: Settings) -> int:
    """Serve until a signal; returns the exit status. Raises NotFound if no release is promoted, UsageError where the address is taken."""
    if settings.workers > 1:
        return Workers(settings.workers, settings.host, settings.port, partial(_work, settings)).run()
    _serve(settings, lambda: listen(settings.host, settings.port), lambda said: print(said, flush=True))
    return 0


def _work(settings: Settings, listening: socket.socket, listens: Callable[[], None] | None) -> None:
    """Serve as one of several; the first says where."""

    def say(said: str) -> None:
        if listens is not None:
            print(f"{said}\n{settings.workers} processes answer.", flush=True)
            listens()

    _serve(settings, lambda: listening, say)


def _serve(settings: Settings, listened: Callable[[], socket.socket], say: Callable[[str], None]) -> None:
    sys.setswitchinterval(SWITCH_S)  # the thread that solves hands the interpreter back fifty times sooner than by default
    service = Service(Warehouse(Path(settings.warehouse)), settings)
    app = application(service)
    listening = listened()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    connections = Connections(most=most_connections(), each=settings.address_connections)
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(Connection, connections=connections)),
        headers=[("x-content-type-options", "nosniff")],
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=5,
        backlog=BACKLOG,
    )
    gc.collect()
    gc.freeze()  # what is here now stays; looking through it again and again would cost a tenth of every request
    gc.set_threshold(50_000, 20, 50)
    say(_banner(service, settings, listening.getsockname()[1]))
    uvicorn.Server(config).run(sockets=[listening])


def application(service: Service) -> Application:
    """The service's application, with the routes that its settings allow."""
    service.routes = table(is_read_only=service.settings.read_only)
    return Application(service)


def _banner(service: Service, settings: Settings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    lines = [f"Serving release {service.releases.current.id} at http://{host}:{port}/"]
    script = Path(sys.executable).with_name("cinematch")
    create = f"{script if script.exists() else script.name} keys create --warehouse {settings.warehouse}"
    if settings.read_only:
        lines.append("Read-only: there is no route that writes.")
    elif not service.guard.keys:
        lines.append(f"Writes are off until there is an API key. Make one, and it counts at once:\n  {create}")
    if service.guard.is_private:
        why = "" if settings.private else f" since others than this machine reach {settings.host}; --public opens it to all of them"
        lines.append(
            f"Private: every read needs an API key with the scope read, or a user's token{why}."
            + ("" if service.guard.keys else f" There is no key yet; make one:\n  {create} --name reader --scopes read")
        )
    elif not is_loopback(settings.host):
        lines.append(f"Public: whoever reaches {settings.host} reads everything, the history of each user included.")
    return "\n".join(lines)
