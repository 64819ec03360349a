"""Rules that every DAG has to keep, checked on the DAGs as Airflow reads them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from jobs.staging.record import STEPS
from schemas.errors import CheckError, HeldBack, NotFound, SettingError
from schemas.models import MODELS
from schemas.settings import Settings
from tests.dags.running import BIN, ROOT

FILES = sorted((ROOT / "dags").glob("*.py"))
SCHEDULES = {"weekly_release": "0 2 * * 0", "daily_audit": "0 6 * * *"}
ASSETS = {"weekly_release": [["cinematch_source", "cinematch://source/"]], "daily_audit": []}

# Run in a process of its own: Airflow configures logging and warnings of the process that it is imported into.
READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
import weekly_release
from types import SimpleNamespace as Run
from datetime import datetime, timezone
def of(t, name):
    return t.partial_kwargs.get(name) if t.is_mapped else getattr(t, name, None)
def task(t):
    return {
        "doc": t.doc_md, "owner": t.owner, "retries": t.retries, "backoff": bool(t.retry_exponential_backoff), "pool": t.pool,
        "timeout_s": t.execution_timeout and t.execution_timeout.total_seconds(), "upstream": sorted(t.upstream_task_ids),
        "mapped": t.is_mapped, "command": of(t, "command") or of(t, "bash_command"), "takes": of(t, "takes"),
        "rule": str(t.trigger_rule), "alerts": bool(t.on_failure_callback), "outlets": [asset.name for asset in t.outlets],
    }
def dag(d):
    timed = getattr(d.timetable, "timetable", d.timetable)
    assets = d.timetable.asset_condition.objects if d.timetable.asset_condition else []
    return {
        "doc": d.doc_md, "tags": sorted(d.tags), "schedule": timed.expression, "zone": str(timed.timezone),
        "assets": [[a.name, a.uri] for a in assets], "catchup": d.catchup, "max_active_runs": d.max_active_runs,
        "timeout_s": d.dagrun_timeout and d.dagrun_timeout.total_seconds(), "params": {k: p.schema for k, p in d.params.items()},
        "defaults": {k: d.params[k] for k in d.params}, "tasks": {t.task_id: task(t) for t in d.tasks},
    }
at = datetime(2026, 1, 4, 2, tzinfo=timezone.utc)
later = datetime(2026, 1, 4, 9, 30, 1, tzinfo=timezone.utc)
def release(kind, run_id, logical=at, after=at):
    return weekly_release.release_of(Run(run_type=kind, run_id=run_id, logical_date=logical, run_after=after))
print(json.dumps({
    "errors": bag.import_errors, "dags": {name: dag(d) for name, d in bag.dags.items()}, "heavy": sorted(set(sys.modules) - before),
    "releases": [release("scheduled", "a"), release("scheduled", "b"), release("backfill", "c"), release("manual", "d", None, later), release("manual", "e", None, later), release("manual", "d", None, later)],
    "arguments": weekly_release.Step(task_id="x", command="ingest", takes=("as_of", "path", "source", "models"), model="$(id)").arguments(
        Run(run_type="scheduled", run_id="a", logical_date=at, run_after=at),
        {"as_of": "2026-01-01T00:00:00Z; touch PWNED; echo ", "path": "--a b; rm -rf /", "source": None, "models": ["popular", "`id`"]},
    ),
    "constants": {"BLENDS": weekly_release.BLENDS, "HELD_BACK": weekly_release.HELD_BACK, "NO_RETRY": weekly_release.NO_RETRY},
}))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CINEMATCH"))}
    home = tmp_path_factory.mktemp("policy")
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT / "dags"),
        "PATH": f"{BIN}:{env['PATH']}",
    }
    done = subprocess.run([sys.executable, "-c", READ, str(ROOT / "dags")], cwd=home, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def weekly(read: dict[str, Any]) -> dict[str, Any]:
    return read["dags"]["weekly_release"]


def test_every_file_is_a_dag_and_is_read_without_an_error(read: dict[str, Any]) -> None:
    assert read["errors"] == {} and set(read["dags"]) == {path.stem for path in FILES} == set(SCHEDULES)


def test_the_schedule_is_frozen(read: dict[str, Any]) -> None:
    assert {name: dag["schedule"] for name, dag in read["dags"].items()} == SCHEDULES
    assert {name: dag["assets"] for name, dag in read["dags"].items()} == ASSETS
    for dag in read["dags"].values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_dag_says_what_it_is_for_whose_it_is_and_what_red_means(read: dict[str, Any], name: str) -> None:
    dag = read["dags"][name]
    assert dag["doc"].startswith(f"{name}: ") and "Owner: " in dag["doc"] and "red run means" in dag["doc"]
    assert "cinematch" in dag["tags"] and len(dag["tags"]) >= 2 and dag["timeout_s"] > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_task_has_owner_doc_retries_and_time_limit_and_tells_of_its_failure(read: dict[str, Any], name: str) -> None:
    for task_id, task in read["dags"][name]["tasks"].items():
        assert task["owner"] == "data-engineering" and task["doc"] and task["retries"] >= 1 and task["backoff"] and task["alerts"], task_id
        if task["command"]:
            assert "**Red:**" in task["doc"] and 0 < task["timeout_s"] < read["dags"][name]["timeout_s"], task_id


def test_tasks_are_named_as_the_steps_and_are_their_commands(weekly: dict[str, Any]) -> None:
    tasks = weekly["tasks"]
    assert set(tasks) == {*STEPS, "models", "train_model"}
    assert {step: tasks[step]["command"] for step in STEPS} == {step: step for step in STEPS} and tasks["train_model"]["command"] == "train"
    assert {name: task["takes"] for name, task in tasks.items() if task["takes"]} == {
        "ingest": ["as_of", "source", "path", "models", "serve"],
        "train_model": ["models", "serve"],
        "train": ["models", "serve"],
    }
    order = ["ingest", "train_model", "train", "evaluate", "recommend", "seal", "promote"]
    for before, after in zip(order, order[1:]):
        assert before in tasks[after]["upstream"]


def test_models_are_trained_side_by_side_within_a_pool_and_one_may_fail(weekly: dict[str, Any]) -> None:
    assert weekly["tasks"]["train_model"]["mapped"] and weekly["tasks"]["train_model"]["pool"] == "training"
    assert weekly["tasks"]["train"]["rule"].lower().endswith("all_done_min_one_success")


def test_what_is_typed_twice_is_the_same(weekly: dict[str, Any], read: dict[str, Any]) -> None:
    """DAGs import nothing of ours, so what they have to know of it is written there again."""
    assert weekly["defaults"]["models"] == Settings().model_names() and set(weekly["params"]["models"]["items"]["enum"]) <= set(MODELS)
    assert set(read["constants"]["BLENDS"]) == {model.name for model in MODELS.values() if model.parts}
    declared = Settings.__dataclass_fields__
    for name in ("source", "serve"):
        assert tuple(weekly["params"][name]["enum"][1:]) == declared[name].metadata["choices"]
    assert read["constants"]["HELD_BACK"] == HeldBack.exit_code
    assert set(read["constants"]["NO_RETRY"]) == {SettingError.exit_code, CheckError.exit_code, NotFound.exit_code}


def test_the_release_is_an_asset(weekly: dict[str, Any]) -> None:
    assert {name: task["outlets"] for name, task in weekly["tasks"].items() if task["outlets"]} == {"promote": ["cinematch_release"]}


def test_a_run_has_one_release_whose_id_sorts_by_time(read: dict[str, Any]) -> None:
    planned, again, backfilled, by_hand, other, repeated = read["releases"]
    assert planned == again == backfilled == "20260104T020000Z"
    assert by_hand == repeated != other and by_hand.startswith("20260104T093001Zm") and sorted([by_hand, planned])[0] == planned


def test_what_a_form_gives_cannot_become_a_command(read: dict[str, Any]) -> None:
    """No shell reads a command: whatever a parameter holds is one argument, and belongs to its flag."""
    assert read["arguments"] == [
        "cinematch",
        "ingest",
        "--json=figures.json",
        "--release=20260104T020000Z",
        "--model=$(id)",
        "--as-of=2026-01-01T00:00:00Z; touch PWNED; echo ",
        "--path=--a b; rm -rf /",
        "--models=popular,`id`",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "yesterday",
        "2026-01-01T00:00:00Z; touch PWNED; echo ",
        "2026-01-01T00:00",
        "2026-13-01T00:00:00Z",
        "$(id)",
        "2026-01-01T00:00:00Z\n;id",
    ],
)
def test_a_time_that_is_none_is_refused_with_the_form(weekly: dict[str, Any], wrong: str) -> None:
    schema = weekly["params"]["as_of"]
    checker = FormatChecker()
    assert "date-time" in checker.checkers, "rfc3339-validator is part of the environment"
    Draft202012Validator(schema, format_checker=checker).validate("2026-01-01T00:00:00Z")
    with pytest.raises(ValidationError):
        Draft202012Validator(schema, format_checker=checker).validate(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_imports_the_sdk_and_the_standard_provider_alone(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [node.module if isinstance(node, ast.ImportFrom) else alias.name for node in found for alias in node.names]
    theirs = [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]
    assert theirs and all(name.startswith(("airflow.sdk", "airflow.providers.standard")) for name in theirs), theirs


def test_reading_the_dags_loads_nothing_heavy(read: dict[str, Any]) -> None:
    heavy = {"pyspark", "pandas", "numpy", "pyarrow", "sklearn", "datasette", "sqlite_utils", "jobs", "warehouse", "schemas", "serving"}
    assert not heavy & {name.split(".")[0] for name in read["heavy"]}
