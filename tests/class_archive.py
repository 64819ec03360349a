"""One archive of the classes that Spark loads, for every Java that the tests start: loading them is over a third of a small run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from jobs.staging.file_locks import locked

ROOT = Path(__file__).resolve().parents[1]
SMALL_RUN = "import sys, pathlib, tests.conftest as c; c.build(pathlib.Path(sys.argv[1]), source='sample', scale=0.05)"


def shared(cache: Path) -> Path:
    """Archive for this Java and this PySpark, in the folder `cache`. It is made by a small run if it is not there, under a
    lock, so that tests that run at the same time share it."""
    home = os.environ.get("JAVA_HOME")
    java = subprocess.run([f"{home}/bin/java" if home else "java", "-version"], capture_output=True, check=True).stderr
    folder = cache / f"classes-{hashlib.sha256(java + find_spec('pyspark').origin.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    archive = folder / "spark.jsa"
    with locked(folder / "lock"):
        if not archive.exists():
            _make(archive)
    folder.touch()
    return archive


def _make(archive: Path) -> None:
    """Run a small run whose Java writes the archive when it ends; the pipes are closed when both have ended."""
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)  # Java does not write over it
    variables = os.environ | {"SPARK_SUBMIT_OPTS": f"-XX:ArchiveClassesAtExit={part}"}
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, "-c", SMALL_RUN, f"{work}/warehouse"], env=variables, cwd=ROOT, capture_output=True, check=True)
    part.rename(archive)
