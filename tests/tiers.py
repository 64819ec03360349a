"""The tier of a test, told from what its module imports and which fixtures it asks for; nobody marks it by hand.

check    no process but this one: no Java, no server, no Airflow          make check
release  the shared releases, Spark, servers, commands                    make test, with those above
system   Airflow, a cluster, kills, benches, releases of its own          make test-all, with those above
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SYSTEM = {
    "playwright", "jobs.bench", "jobs.run.run", "jobs.run.run_step", "tests.conftest.build", "tests.dags.postgres", "tests.dags.running", "tests.jobs.conftest.run_steps",
    "tests.jobs.kill_points", "tests.jobs.test_killed", "tests.serving.test_fuzz", "listed", "standalone", "trained", "cluster",
    "ml_latest_small", "online_retail",
}  # fmt: skip
RELEASE = {
    "pyspark", "subprocess", "multiprocessing", "tests.serving.conftest.Server", "tests.serving.conftest.serving",
    "movie_release", "purchase_release", "spark", "server",
}  # fmt: skip


def tier_of(item: pytest.Function) -> str:
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()  # fixtures that a test asks for by name, at last
    used = imported(item.path) | set(item.fixturenames) | {value for value in given if isinstance(value, str)}
    for tier, names in (("system", SYSTEM), ("release", RELEASE)):
        if any(one == name or one.startswith(f"{name}.") for one in used for name in names):
            return tier
    return "check"


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules and names that a file imports, anywhere in it, and the module that it is itself."""
    root = Path(__file__).resolve().parents[1]
    found = {path.relative_to(root).with_suffix("").as_posix().replace("/", ".")}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return frozenset(found)
