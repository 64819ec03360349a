"""The engine as the check of docker-compose.yml uses it: one project of its own, its containers, and what they are asked by HTTP."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess  # nosec B404  # each call says by itself what it runs
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
PROJECT = f"cinematch-check-{os.getpid()}"
IMAGE = os.environ.get("CINEMATCH_IMAGE", "cinematch:check")
DAG = "weekly_release"
UP_S, RUN_S, RECOVER_S = 600, 1800, 180
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
LASTING = ("postgres", "spark-master", "spark-worker", *AIRFLOW)
STARTED = time.monotonic()


class Failed(Exception):
    """A step of the check did not end as it must."""


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", flush=True)


def command(*words: str, input: str | None = None) -> str:
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, text=True, input=input, capture_output=True)  # nosec B603  # no shell
    if done.returncode:
        raise Failed(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def compose(*words: str) -> str:
    return command(*COMPOSE, "--project-name", PROJECT, *words)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ours(kind: str, **labels: str) -> list[str]:
    """Ids of the containers, networks or volumes of this check."""
    wanted = {"project": PROJECT} | labels
    labelled = [f"label=com.docker.compose.{name}={value}" for name, value in wanted.items()]
    filters = [part for label in labelled for part in ("--filter", label)]
    every = ["--all"] if kind == "container" else []
    return command("docker", kind, "ls", "--quiet", *every, *filters).split()


def inspected(service: str) -> dict[str, Any]:
    return json.loads(command("docker", "inspect", ours("container", service=service)[0]))[0]


def state(service: str) -> dict[str, Any]:
    containers = ours("container", service=service)
    return json.loads(command("docker", "inspect", "--format", "{{json .State}}", containers[0])) if containers else {}


def inside(service: str, *words: str, user: str = "0") -> tuple[int, str]:
    """Exit status and output of a command in a running container, as root where nothing else is said."""
    words = (*COMPOSE, "--project-name", PROJECT, "exec", "-T", "--user", user, service, *words)
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, text=True, stdin=subprocess.DEVNULL, capture_output=True)  # nosec B603  # no shell
    return done.returncode, (done.stdout + done.stderr).strip()


def is_healthy(service: str) -> bool:
    return state(service).get("Health", {}).get("Status") == "healthy"


def wait(is_so: Callable[[], bool], what: str, limit_s: float) -> float:
    """Seconds until it was so. What cannot be reached yet is not so."""
    started = time.monotonic()
    while True:
        try:
            if is_so():
                return time.monotonic() - started
        except (URLError, OSError, KeyError):
            pass
        if time.monotonic() - started > limit_s:
            raise Failed(f"{what}: not within {limit_s} s")
        time.sleep(0.5)


def ask(url: str, body: Any = None, *, token: str = "") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with urlopen(Request(url, None if body is None else json.dumps(body).encode(), headers), timeout=30) as answer:  # nosec B310  # loopback
        return json.load(answer)


def status_of(url: str, body: Any, *, token: str, method: str) -> int:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=30) as answer:  # nosec B310  # loopback
            return answer.status
    except HTTPError as error:
        with error:
            return error.code


def logged_in(airflow: str, user: str) -> str:
    login = {"username": user, "password": SECRETS[f"airflow_{user}_password"]}
    return ask(f"{airflow}/auth/token", login)["access_token"]


PORTS = ("AIRFLOW_PORT", "SERVING_PORT", "SPARK_UI_PORT")
SECRETS = {
    name: secrets.token_urlsafe(32)
    for name in ("postgres_password", "airflow_jwt_secret", "airflow_admin_password", "airflow_cinematch_password", "user_token_secret")
}
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("CINEMATCH_")},
    **{name: str(free_port()) for name in PORTS},
    "CINEMATCH_IMAGE": IMAGE,
}
HAS_PLUGIN = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0  # nosec B603, B607  # no shell
COMPOSE = ("docker", "compose") if HAS_PLUGIN else ("docker-compose",)
