"""bench run: source to promoted release on generated ratings, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
from typing import Any

from jobs.machine.progress import processors
from jobs.sources.sample_films import SMALL
from schemas.settings import Settings


def measure(settings: Settings, *, ratings: int) -> dict[str, Any]:
    """Seconds of each step, and peak memory of the process tree, of `cinematch run` in a new warehouse that is removed after.
    The ratings are generated inside the run, so its time is part of ingest."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as folder:
        command = [
            sys.executable,
            "-m",
            "jobs.cli",
            "run",
            "--source",
            "sample",
            "--scale",
            str(ratings / SMALL[2]),
            "--warehouse",
            folder,
            "--seed",
            str(settings.seed),
            "--spark-master",
            settings.spark_master,
            "--json",
            f"{folder}/figures.json",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)  # nosec B603  # no shell; our own command, on this machine
        with open(f"{folder}/figures.json", encoding="utf-8") as file:
            figures = json.load(file)
    return {k: v for k, v in figures.items() if k not in ("step", "release")} | {"n_processors": processors()}
