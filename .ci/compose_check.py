#!/usr/bin/env python3
"""Run docker-compose.yml for real: build, bring everything up, try to get out of its containers, make a release through Airflow, use
it, kill and see it recover, go down with nothing left. Needs a Docker engine, compose and 8 GB of memory; prints what it saw and when."""

from __future__ import annotations

import os
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compose_confined import apart, confined, hidden, lesser
from compose_engine import (
    ask,
    command,
    COMPOSE,
    compose,
    DAG,
    ENVIRONMENT,
    Failed,
    IMAGE,
    is_healthy,
    LASTING,
    logged_in,
    ours,
    PORTS,
    PROJECT,
    RECOVER_S,
    ROOT,
    RUN_S,
    say,
    SECRETS,
    state,
    UP_S,
    wait,
)  # fmt: skip

USER = 50
LONG = 200  # rows that a process beside the server makes
FEW = {"models": ["popular", "ials", "als"], "serve": "ials"}  # that it runs is checked; tests say what it computes
PASSED_ON = ("PYTHON_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


@contextmanager
def secret_files():
    """The secrets as compose wants them: a folder closed to others, files that the user of a container can read."""
    with tempfile.TemporaryDirectory(prefix="cinematch-secrets-") as folder:
        for name, secret in SECRETS.items():
            path = Path(folder, name)
            path.write_text(secret + "\n")
            path.chmod(0o644)
        ENVIRONMENT["SECRETS_FOLDER"] = folder
        yield


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
    starting = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, **quiet)  # nosec B603  # no shell

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


def release(airflow: str, serving: str) -> str:
    """Trigger a release as the server's user of Airflow and wait until it is served; returns the run."""
    token = logged_in(airflow, "cinematch")
    lesser(airflow, token)
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
    return run


def use(serving: str, run: str) -> int:
    """Ask for the run through the server, read a list and post a rating of its first item; returns that."""
    key = compose("exec", "-T", "serving", "cinematch", "keys", "create", "--scopes", "ratings,read,run").splitlines()[-1]
    rows = ask(f"{serving}/recommend/{USER}?n=3")["rows"]
    if not rows or not rows[0]["reasons"]:
        raise Failed(f"/recommend/{USER}: no list with reasons: {rows}")
    n_long = len(ask(f"{serving}/recommend/{USER}?n={LONG}")["rows"])
    if n_long != LONG:
        raise Failed(f"/recommend/{USER}?n={LONG}: expected so many rows from the process for long answers, got {n_long}")
    item = rows[0]["item_id"]
    rating = {"user_id": USER, "item_id": item, "rating": 4.5}
    wait(lambda: ask(f"{serving}/ratings", rating, token=key)["ok"], "a rating with a key that was just made", 10)
    has_rating(serving, item)
    state_of_run = ask(f"{serving}/runs/{run}", token=key)["rows"][0]["state"]
    if state_of_run != "success":
        raise Failed(f"/runs/{run}: expected success, got {state_of_run}")
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
                tail = subprocess.run(["docker", "logs", "--tail", "25", container], text=True, capture_output=True)  # nosec B603, B607  # no shell
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
        with secret_files(), gone_at_the_end():
            up()
            confined(*LASTING, "serving")
            hidden(*LASTING, "serving", "airflow-init")
            apart()
            run = release(airflow, serving)
            item = use(serving, run)
            hidden("serving")
            memory()
            recover(spark, serving, item)
    except (Failed, OSError) as error:
        print(f"compose-check: {error}", file=sys.stderr)
        return 1
    say("compose-check passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
