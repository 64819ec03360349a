"""Airflow on SQLite as `make airflow` starts it, once for all tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dags.running import Airflow, ROOT


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    airflow = Airflow(tmp_path_factory.mktemp("standalone"), {})
    airflow.env["AIRFLOW_HOME"] = str(airflow.home)
    installed = ["-o", ".venv/.ready-airflow"]  # by who runs the tests; not to be looked at again
    airflow.start("make", ["make", *installed, "airflow", f"AIRFLOW_PORT={airflow.port}", f"WAREHOUSE={airflow.warehouse}"])
    try:
        airflow.wait_until_up("scheduler", "dag_processor", "triggerer")
        yield airflow
    finally:
        airflow.stop()
