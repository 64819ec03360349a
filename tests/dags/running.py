"""Airflow as it is run, for tests: started in process groups of its own, asked by REST, and gone at the end with all it started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import psutil

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DAG = "weekly_release"
UP_S, RUN_S, STOP_S = 240, 480, 30  # on a machine that others keep busy too; alone a run takes about a minute

# A release in seconds: the settings that a deployment would have in its environment.
SMALL = {
    "CINEMATCH_SCALE": "0.05",
    "CINEMATCH_SPARK_MASTER": "local[2]",
    "CINEMATCH_SPARK_DRIVER_MEMORY": "1g",
    "CINEMATCH_N": "10",
    "CINEMATCH_IALS_FACTORS": "8",
    "CINEMATCH_IALS_ITERATIONS": "2",
    "CINEMATCH_EXPLAIN_N": "5",
    "CINEMATCH_SIMILAR_N": "5",
    "CINEMATCH_PARITY_USERS": "10",
    "CINEMATCH_SERVE": "ials",
    "CINEMATCH_MODELS": "popular,content,ials",
    "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
}


class Airflow:
    """A set of Airflow's processes with one home folder, warehouse and port."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.home, self.warehouse = folder / "airflow", folder / "warehouse"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CINEMATCH"))}
        self.env |= (
            SMALL
            | {
                "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
                "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            }
            | dict(variables)
        )
        self.started: dict[str, psutil.Popen] = {}
        self._sessions: set[int] = set()
        self._token = ""

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a group of its own; what it says goes to a file."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{name}.out").open("ab") as out:
            self.started[name] = psutil.Popen(
                list(command), cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._sessions.add(self.started[name].pid)

    def said(self, name: str) -> str:
        return (self.home / f"{name}.out").read_text(encoding="utf-8", errors="replace")

    @property
    def password(self) -> str:
        return json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())["admin"]

    def wait_until_up(self, *parts: str) -> None:
        """Until those parts are healthy and the DAG is there to be run."""

        def is_up() -> bool:
            for name, process in self.started.items():
                assert process.poll() is None, f"{name} ended:\n{self.said(name)[-3000:]}"
            try:
                health = self.get("/monitor/health")
                return all(health[part]["status"] == "healthy" for part in parts) and not self.get(f"/dags/{DAG}")["is_stale"]
            except (URLError, OSError, KeyError, Refused, json.JSONDecodeError):  # the password's file is there before what it says
                return False

        wait(is_up, UP_S, lambda: "\n".join(self.said(name)[-2000:] for name in self.started))

    def get(self, path: str) -> dict[str, Any]:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A call of the REST API. Raises Refused."""
        if not self._token:
            login = {"username": "admin", "password": self.password}
            self._token = called("POST", f"{self.url}/auth/token", login)["access_token"]
        return called(method, f"{self.url}/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"})

    def trigger(self, **conf: Any) -> str:
        """Start a run by hand; its id."""
        return self.ask("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]

    def tasks(self, run_id: str) -> dict[str, str]:
        """State of each task, a mapped one by its model: `train_model[ials]`."""
        found = self.get(f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return {task["task_id"] + (f"[{task['rendered_map_index']}]" if task["map_index"] >= 0 else ""): task["state"] for task in found}

    def state(self, run_id: str) -> str:
        return self.get(f"/dags/{DAG}/dagRuns/{quote(run_id)}")["state"]

    def wait_for(self, run_id: str) -> str:
        """Until the run has ended; its state."""
        wait(lambda: self.state(run_id) in ("success", "failed"), RUN_S, lambda: str(self.tasks(run_id)))
        return self.state(run_id)

    def xcom(self, run_id: str, task: str) -> Any:
        path = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}/xcomEntries/return_value"
        return self.get(path)["value"]

    def log(self, run_id: str, task: str, *, try_number: int = 1, map_index: int = -1) -> list[str]:
        """The lines of a task's log."""
        path = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}/logs/{try_number}?map_index={map_index}"
        return [line["event"] for line in self.get(path)["content"]]

    def kill_scheduler(self) -> list[psutil.Process]:
        """End the scheduler and the workers below it at once, as a machine would; the commands that they had started live on,
        with nobody to report to. Returns those."""
        scheduler = self.started.pop("scheduler")
        below = scheduler.children(recursive=True)
        first = [process for process in below if _is_command(process)]
        commands = {*first, *(child for process in first for child in process.children(recursive=True))}
        doomed = [scheduler, *(process for process in below if process not in commands)]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):  # it ended by itself a moment ago
                process.kill()
        scheduler.wait()
        return [process for process in commands if process.is_running()]

    def stop(self) -> None:
        """End everything that was started, as Ctrl-C does, then whatever is left of it."""
        for process in self.started.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        psutil.wait_procs(list(self.started.values()), timeout=STOP_S)
        for process in self.left():
            process.kill()
        wait(lambda: not self.left(), STOP_S, lambda: str(self.left()))
        for process in self.started.values():
            process.wait(STOP_S)  # it has ended; who started it takes notice

    def left(self) -> list[psutil.Process]:
        """Whatever still runs of what was started: in one of its sessions, or, where it made one for itself, with its home
        folder in the environment."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = os.getsid(process.pid) in self._sessions or process.environ().get("AIRFLOW_HOME") == str(self.home)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, ProcessLookupError, PermissionError):
                continue
        return found


@contextmanager
def stopped_at_the_end(airflow: Airflow) -> Iterator[Airflow]:
    """Stop Airflow at the end, also if the tests are told to end before: that then ends them as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield airflow
    finally:
        signal.signal(signal.SIGTERM, before)
        airflow.stop()


class Refused(Exception):
    """An answer that is not 2xx, with its body."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def called(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            raise Refused(f"{method} {url}: {error.code} {error.read().decode()[:1000]}", error.code) from None


def wait(is_so: Callable[[], bool], limit_s: float, shown: Callable[[], str]) -> None:
    """Look twice a second; raises AssertionError with what is shown when the time is over."""
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, f"not within {limit_s:.0f} s: {shown()}"
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _is_command(process: psutil.Process) -> bool:
    """Whether it runs a command of ours, be it through a shell."""
    try:
        words = process.cmdline()[:3]
    except psutil.Error:
        return False
    return any(Path(word).name == "cinematch" or word.startswith("cinematch ") for word in words)
