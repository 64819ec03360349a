"""The DAGs of this project on PostgreSQL with the LocalExecutor, each part a process of its own; the scheduler is killed in mid-run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dags import postgres
from tests.dags.running import Airflow, DAG, ROOT, stopped_at_the_end, UP_S, wait
from warehouse.layout import Warehouse
from warehouse.release import current_id, damage, read_manifest, sealed_ids

pytestmark = [
    pytest.mark.skipif(postgres.binaries() is None, reason="needs PostgreSQL's initdb and pg_ctl: apt-get install postgresql"),
]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("postgres")
    with postgres.cluster() as address:
        airflow = Airflow(folder, {})
        airflow.env |= {
            "AIRFLOW_HOME": str(airflow.home),
            "CINEMATCH_WAREHOUSE": str(airflow.warehouse),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address,
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(airflow.port),
            "AIRFLOW__API__WORKERS": "1",
            # By default Airflow looks every five minutes for what a scheduler that is gone has left.
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "6",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
        }
        with stopped_at_the_end(airflow):
            for command in (["db", "migrate"], ["pools", "set", "training", "2", "models that are trained at once"]):
                done = subprocess.run(["airflow", *command], env=airflow.env, capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, done.stderr[-3000:]
            for part in ("api-server", "scheduler", "dag-processor"):
                airflow.start(part, ["airflow", part])
            airflow.wait_until_up("scheduler", "dag_processor")
            yield airflow


@pytest.fixture(scope="module")
def survived(deployed: Airflow) -> str:
    """A run whose scheduler was killed, with its workers, while models were trained, and was started again; it has ended."""
    run_id = deployed.trigger()
    wait(
        lambda: "running" in [deployed.tasks(run_id).get(f"train_model[{name}]") for name in ("popular", "content", "ials")],
        UP_S,
        lambda: str(deployed.tasks(run_id)),
    )
    staged = list(Warehouse(deployed.warehouse).staging.glob("*.work"))
    wait(lambda: any(staged[0].glob("steps/train-*.json")), UP_S, lambda: "no model is being trained")
    left = deployed.kill_scheduler()
    assert left, "the commands that ran live on, as they do when a scheduler dies alone"
    deployed.start("scheduler", ["airflow", "scheduler"])
    deployed.wait_for(run_id)
    return run_id


def test_a_run_ends_well_after_its_scheduler_was_killed(deployed: Airflow, survived: str) -> None:
    assert deployed.state(survived) == "success", deployed.tasks(survived)
    warehouse = Warehouse(deployed.warehouse)
    figures = deployed.xcom(survived, "promote")
    assert sealed_ids(warehouse) == [figures["release"]] and current_id(warehouse) == figures["release"]
    release = warehouse.sealed(figures["release"])
    manifest = read_manifest(release)
    assert damage(release, manifest) == {} and manifest.models
    assert {row["model"]: row["status"] for row in manifest.models} == dict.fromkeys(("content", "ials", "popular"), "trained")


def test_what_was_running_was_tried_again(deployed: Airflow, survived: str) -> None:
    tasks = deployed.get(f"/dags/{DAG}/dagRuns/{survived.replace('+', '%2B')}/taskInstances")["task_instances"]
    tries = {task["task_id"]: task["try_number"] for task in tasks}
    assert max(task["try_number"] for task in tasks if task["task_id"] == "train_model") == 2, tries
    assert {tries[step] for step in ("ingest", "seal", "promote")} == {1}


def test_it_is_postgresql(deployed: Airflow) -> None:
    said = subprocess.run(["airflow", "db", "check"], env=deployed.env, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0
    shown = subprocess.run(
        ["airflow", "config", "get-value", "core", "executor"], env=deployed.env, capture_output=True, text=True, timeout=60
    )
    assert re.search("^LocalExecutor$", shown.stdout, re.MULTILINE)
    assert not list(Path(deployed.home).glob("*.db")), "no SQLite file beside it"
