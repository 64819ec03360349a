"""Airflow on SQLite as `make airflow` starts it, once for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dags.running import Airflow, stopped_at_the_end


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    airflow = Airflow(tmp_path_factory.mktemp("standalone"), {})
    airflow.env["AIRFLOW_HOME"] = str(airflow.home)
    installed = ["-o", ".venv/.ready-airflow"]  # by who runs the tests; not to be looked at again
    airflow.start(
        "make", ["make", "--no-print-directory", *installed, "airflow", f"AIRFLOW_PORT={airflow.port}", f"WAREHOUSE={airflow.warehouse}"]
    )
    with stopped_at_the_end(airflow):
        airflow.wait_until_up("scheduler", "dag_processor", "triggerer")
        yield airflow
