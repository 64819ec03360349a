"""POST /releases and /runs/<id>: start the weekly release through Airflow's REST API, and tell how far it is.

Off unless `airflow_url` is set. Airflow's user is a setting like any other; the password comes from the environment, is
sent to Airflow alone, and is in no flag, no log and no answer.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request as HttpRequest, urlopen

from schemas.errors import NotFound
from schemas.settings import Settings
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service

DAG = "weekly_release"
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
TIMEOUT_S = 10


async def start(service: Service, request: Request) -> Response:
    """Ask Airflow for a run of `weekly_release`. The body may be empty, or name models, serve, promote and as_of."""
    conf = _parameters(request.body)
    run = await asyncio.to_thread(_started, _airflow(service), conf, f"over HTTP with key {request.key}")
    return Response(rows=[_row(run)], key="run", status=202, headers={"location": f"/runs/{quote(run['dag_run_id'])}"})


async def show(service: Service, request: Request) -> Response:
    """One run: its state, that of each of its tasks, and its release as soon as there is one."""
    return Response(rows=[await asyncio.to_thread(_found, _airflow(service), request.path["run"])], key="run")


def _parameters(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise RequestError("the body: expected a JSON object, or nothing") from None
    unknown = sorted(set(given) - set(PARAMETERS)) if isinstance(given, dict) else ["no object"]
    if unknown:
        raise RequestError(f"the body: expected some of {', '.join(PARAMETERS)}, got {', '.join(unknown)[:200]}")
    for name, value in given.items():
        expected, is_fine = PARAMETERS[name]
        if value is not None and not is_fine(value):
            raise RequestError(f"{name}: expected {expected}, got {json.dumps(value)[:200]}")
    return {name: value for name, value in given.items() if value is not None}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    """Tell whether a value is a time of ISO 8601 with its offset, and nothing else."""
    try:
        return isinstance(value, str) and "T" in value and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


# The source is not among them: a key to write is none to the files of the cluster.
PARAMETERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "models": ("a list of names of models", lambda value: isinstance(value, list) and bool(value) and all(map(_is_name, value))),
    "serve": ("the name of a model", _is_name),
    "promote": ("true or false", lambda value: isinstance(value, bool)),
    "as_of": ("a time such as 2026-01-04T02:00:00Z", _is_time),
}


class _Airflow:
    """Calls of one deployment's REST API, with a token of its own."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.airflow_url.rstrip("/")
        login = {"username": settings.airflow_user, "password": settings.airflow_password}
        self._token = self._ask("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self._ask(method, f"/api/v2/dags/{DAG}{path}", body, {"Authorization": f"Bearer {self._token}"})

    def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Raises NotFound, or RequestError: 400 where Airflow refuses the parameters, 502 or 503 where it fails."""
        data = None if body is None else json.dumps(body).encode()
        request = HttpRequest(self._url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
        where = f"Airflow at {urlsplit(self._url).netloc.rpartition('@')[2]}"
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # nosec B310  # the operator's own address
                return json.load(answer)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    raise NotFound(f"{where} has no such run") from None
                if error.code in (400, 422):
                    raise RequestError(f"{where} refuses the parameters: {_detail(error)}") from None
                raise RequestError(f"{where} answers {error.code} to this server; see its log", 502) from None
        except (URLError, TimeoutError, ValueError, OSError) as error:
            raise RequestError(f"{where} cannot be reached: {type(error).__name__}", 503) from None


def _detail(error: HTTPError) -> str:
    """Return what Airflow says is wrong, in a line."""
    try:
        said = json.loads(error.read())["detail"]
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
    return " ".join(str(said).split())[:300]


def _airflow(service: Service) -> Settings:
    if not service.settings.airflow_url:
        raise RequestError("runs are off: setting airflow_url names no Airflow to start them in", 403)
    return service.settings


def _started(settings: Settings, conf: dict[str, Any], note: str) -> dict[str, Any]:
    return _Airflow(settings).call("POST", "/dagRuns", {"logical_date": None, "conf": conf, "note": note})


def _found(settings: Settings, run_id: str) -> dict[str, Any]:
    airflow, path = _Airflow(settings), f"/dagRuns/{quote(run_id, safe='')}"
    run = airflow.call("GET", path)
    tasks = airflow.call("GET", f"{path}/taskInstances?limit=100")["task_instances"]
    states = {task["task_id"] + (f"[{task['rendered_map_index']}]" if task["map_index"] >= 0 else ""): task["state"] for task in tasks}
    figures: dict[str, Any] = {}
    for task in ("promote", "ingest"):
        try:
            figures = figures or airflow.call("GET", f"{path}/taskInstances/{task}/xcomEntries/return_value")["value"] or {}
        except NotFound:
            continue  # it has not ended yet
    return _row(run) | {"release": figures.get("release"), "message": figures.get("message"), "tasks": states}


def _row(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run["dag_run_id"],
        "state": run["state"],
        "started_at": run["start_date"],
        "ended_at": run["end_date"],
    }
