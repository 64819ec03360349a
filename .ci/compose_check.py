#!/usr/bin/env python3
"""Run docker-compose.yml for real: build, bring everything up, make a release through Airflow, use it, kill and see it
recover, go down with nothing left. Needs a Docker engine, compose and 8 GB of memory; prints what it saw and when."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
PROJECT = f"cinematch-check-{os.getpid()}"
IMAGE = os.environ.get("CINEMATCH_IMAGE", "cinematch:check")
USER, DAG = 50, "weekly_release"
FEW = {"models": ["popular", "ials", "als"], "serve": "ials"}  # that it runs is checked; tests say what it computes
UP_S, RUN_S, RECOVER_S = 600, 1800, 180
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
LASTING = ("postgres", "spark-master", "spark-worker", *AIRFLOW)
PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
STARTED = time.monotonic()


class Failed(Exception):
    """A step of the check did not end as it must."""


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", flush=True)


def command(*words: str, input: str | None = None) -> str:
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, text=True, input=input, capture_output=True)
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


def state(service: str) -> dict[str, Any]:
    containers = ours("container", service=service)
    return json.loads(command("docker", "inspect", "--format", "{{json .State}}", containers[0])) if containers else {}


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
    with urlopen(Request(url, None if body is None else json.dumps(body).encode(), headers), timeout=30) as answer:
        return json.load(answer)


def build() -> None:
    arguments = [word for name in PASSED_ON if name in os.environ for word in ("--build-arg", name)]
    started = time.monotonic()
    command("docker", "build", "--network", "host", *arguments, "--tag", IMAGE, ".")
    size = int(command("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    say(f"built {IMAGE} in {time.monotonic() - started:.0f} s: {size / 2**20:,.0f} MiB")


def up() -> None:
    compose("config", "--quiet")
    started, healthy = time.monotonic(), {}
    words = [*COMPOSE, "--project-name", PROJECT, "up", "--detach", "--no-build"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    starting = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, **quiet)

    def all_healthy() -> bool:
        if starting.poll():
            raise Failed(f"{' '.join(words)}: exit status {starting.returncode}\n{starting.stderr.read()[-4000:]}")
        for service in LASTING:
            if service not in healthy and is_healthy(service):
                healthy[service] = time.monotonic() - started
        return len(healthy) == len(LASTING)

    try:
        wait(all_healthy, "everything healthy", UP_S)
    finally:
        starting.terminate()  # where it has not ended: it would go on to start what is about to be taken down
        starting.communicate()
    say("healthy: " + ", ".join(f"{service} after {seconds:.0f} s" for service, seconds in healthy.items()))
    users = {one: compose("exec", "-T", one, "id", "-un") for one in LASTING if one != "postgres"}
    if set(users.values()) != {"cinematch"}:
        raise Failed(f"expected every container to run as cinematch, got {users}")


def release(airflow: str, serving: str) -> None:
    """Trigger a release in Airflow and wait until it is served."""
    login = {"username": "admin", "password": ENVIRONMENT["AIRFLOW_ADMIN_PASSWORD"]}
    token = ask(f"{airflow}/auth/token", login)["access_token"]
    api = f"{airflow}/api/v2/dags/{DAG}"
    wait(lambda: not ask(api, token=token)["is_stale"], f"DAG {DAG}", UP_S)
    run = ask(f"{api}/dagRuns", {"logical_date": None, "conf": FEW}, token=token)["dag_run_id"].replace("+", "%2B")

    def tasks() -> list[dict[str, Any]]:
        return ask(f"{api}/dagRuns/{run}/taskInstances", token=token)["task_instances"]

    def has_ended() -> bool:
        return ask(f"{api}/dagRuns/{run}", token=token)["state"] in ("success", "failed")

    seconds = wait(has_ended, f"the run of {DAG}", RUN_S)
    ended = ", ".join(
        f"{one['rendered_map_index'] or one['task_id']} {one['state']} {one['duration'] or 0:.0f} s"
        for one in sorted(tasks(), key=lambda one: one["start_date"] or "")
    )
    if ask(f"{api}/dagRuns/{run}", token=token)["state"] != "success":
        raise Failed(f"the run of {DAG} failed: {ended}")
    say(f"{DAG} succeeded in {seconds:.0f} s: {ended}")
    seconds = wait(lambda: is_healthy("serving"), "serving", RECOVER_S)
    say(f"release {ask(f'{serving}/health/ready')['rows'][0]['release']} is served {seconds:.0f} s later")


def use(serving: str) -> int:
    """Read a list and post a rating of its first item; returns that."""
    key = compose("exec", "-T", "serving", "cinematch", "keys", "create").splitlines()[-1]
    rows = ask(f"{serving}/recommend/{USER}?n=3")["rows"]
    if not rows or not rows[0]["reasons"]:
        raise Failed(f"/recommend/{USER}: no list with reasons: {rows}")
    item = rows[0]["item_id"]
    rating = {"user_id": USER, "item_id": item, "rating": 4.5}
    wait(lambda: ask(f"{serving}/ratings", rating, token=key)["ok"], "a rating with a key that was just made", 10)
    has_rating(serving, item)
    say(f"/recommend/{USER} gave {rows[0]['title']!r}; rated, it left the list")
    return item


def has_rating(serving: str, item: int) -> None:
    rated = [row["item_id"] for row in ask(f"{serving}/ratings/{USER}")["rows"]]
    listed = [row["item_id"] for row in ask(f"{serving}/recommend/{USER}?n=50")["rows"]]
    if item not in rated or item in listed:
        raise Failed(f"user {USER} rated {item}: expected it among the ratings and not in the list")


def kill(service: str) -> int:
    """SIGKILL to a container's first process, from outside: what docker itself kills it does not start again. Returns
    the number that it had."""
    number = state(service)["Pid"]
    command("docker", "run", "--rm", "--pid", "host", "--user", "0", IMAGE, "kill", "-KILL", str(number))
    return number


def recover(spark: str, serving: str, item: int) -> None:
    """Kill the worker and the server; both come back by themselves, and nothing is lost."""
    started, again = time.monotonic(), {}
    killed = {service: kill(service) for service in ("spark-worker", "serving")}

    def all_again() -> bool:
        for service, number in killed.items():
            if service not in again and state(service)["Pid"] not in (0, number) and is_healthy(service):
                again[service] = time.monotonic() - started
        return len(again) == len(killed)

    def has_worker() -> bool:
        return any(worker["state"] == "ALIVE" for worker in ask(f"{spark}/json/")["workers"])

    wait(all_again, "what was killed healthy again", RECOVER_S)
    wait(has_worker, "a worker that the master knows", RECOVER_S)
    has_rating(serving, item)
    took = ", ".join(f"{service} after {seconds:.0f} s" for service, seconds in again.items())
    say(f"killed, and healthy again: {took}; the rating is there")


def memory() -> None:
    form = ("--format", "{{.Name}} {{.MemUsage}}")
    for line in sorted(command("docker", "stats", "--no-stream", *form, *ours("container")).splitlines()):
        say(f"memory {line}")


@contextmanager
def gone_at_the_end():
    try:
        yield
    except BaseException:
        for service in (*LASTING, "airflow-init", "serving"):
            for container in ours("container", service=service):
                tail = subprocess.run(["docker", "logs", "--tail", "25", container], text=True, capture_output=True)
                print(f"--- {service} {state(service).get('Status')}\n{tail.stdout}{tail.stderr}", file=sys.stderr)
        raise
    finally:
        compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
        left = {kind: found for kind in ("container", "network", "volume") if (found := ours(kind))}
        if left:
            raise Failed(f"left after going down: {left}")
        say("down: no container, network or volume is left")


def main() -> int:
    airflow, serving, spark = (f"http://127.0.0.1:{ENVIRONMENT[name]}" for name in PORTS)
    try:
        build()
        with gone_at_the_end():
            up()
            release(airflow, serving)
            item = use(serving)
            memory()
            recover(spark, serving, item)
    except (Failed, OSError) as error:
        print(f"compose-check: {error}", file=sys.stderr)
        return 1
    say("compose-check passed")
    return 0


SECRETS = ("POSTGRES_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_JWT_SECRET")
PORTS = ("AIRFLOW_PORT", "SERVING_PORT", "SPARK_UI_PORT")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("CINEMATCH_")},
    **{name: secrets.token_urlsafe(32) for name in SECRETS},
    **{name: str(free_port()) for name in PORTS},
    "CINEMATCH_IMAGE": IMAGE,
}
HAS_PLUGIN = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
COMPOSE = ("docker", "compose") if HAS_PLUGIN else ("docker-compose",)

if __name__ == "__main__":
    sys.exit(main())
