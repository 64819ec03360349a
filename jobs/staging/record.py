"""Steps in common: each has its release in staging, settings that outlive the process, and a record when it is done."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.machine.progress import PeakMemory
from schemas.errors import StepError
from schemas.settings import Settings
from schemas.tables import IdTypes
from warehouse.atomic import replacing
from warehouse.layout import Release, STEPS

log = logging.getLogger("cinematch")


@dataclass
class Step:
    """A running step. What it puts into `figures` is printed as its last line and kept in the manifest; `facts` are what
    later steps need to know and no table says. `held_back` is why the release goes no further, where a step finds that out: it
    then leaves no record, so that no later step starts."""

    name: str
    release: Release
    settings: Settings
    figures: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    held_back: str = ""

    _started: float = field(default_factory=time.monotonic)
    _peak: PeakMemory = field(default_factory=PeakMemory)

    def measured(self) -> dict[str, Any]:
        """The figures so far, with seconds and peak memory."""
        return {
            "step": self.name,
            "release": self.release.id,
            **self.figures,
            **({"is_promoted": False, "message": self.held_back} if self.held_back else {}),
            "seconds_s": round(time.monotonic() - self._started, 3),
            "peak_mib": round(self._peak.mib, 1),
        }

    @property
    def scratch(self) -> Path:
        return self.release.work / "spark"

    def write_record(self) -> None:
        write_json(
            self.release.step(self.name),
            {"figures": self.figures, "facts": self.facts, "settings": self.settings.recorded()},
        )


@contextmanager
def step(name: str, release: Release, settings: Settings, *, needs: tuple[str, ...] = (), part: str | None = None) -> Iterator[Step]:
    """Run a step: check that the ones it needs are done, then record its figures, seconds and peak memory.

    The record is written last and at once, so a step that was killed has none and is simply run again. Running a step again
    drops the records of the steps after it, whose results would no longer belong to it. A part of a step has a record of its
    own, which the step then finds.
    """
    if name != "ingest" and not release.folder.exists():
        raise StepError(
            f"{name}: release {release.id} is not being built in {release.folder.parent}; run `cinematch ingest --release {release.id}` first"
        )
    for needed in needs:
        if not release.step(needed).exists():
            raise StepError(f"{name}: release {release.id} has no finished {needed}; run `cinematch {needed} --release {release.id}` first")
    for later in STEPS[STEPS.index(name) :]:
        release.step(later).unlink(missing_ok=True)
        for path in [] if later == name else release.work.glob(f"steps/{part_name(later, '*')}.json"):
            path.unlink(missing_ok=True)
    running = Step(part_name(name, part) if part else name, release, settings)
    log.info("%s: release %s starts", running.name, release.id)
    with running._peak:
        yield running
    running.figures = figures = running.measured()
    if release.work.exists() and not running.held_back:  # sealing removes it
        running.write_record()
    log.info(
        "%s: release %s done in %.1f s, peak %.0f MiB",
        running.name,
        release.id,
        figures["seconds_s"],
        figures["peak_mib"],
    )


def part_name(name: str, part: str) -> str:
    return f"{name}-{part}"


def record(release: Release, name: str) -> dict[str, Any]:
    """The record of a finished step: figures, facts, settings."""
    return json.loads(release.step(name).read_text(encoding="utf-8"))


def recorded_settings(release: Release) -> dict[str, Any]:
    """Settings that the latest finished step of the release ran with; none before the first."""
    done = [name for name in STEPS if release.step(name).exists()]
    return record(release, done[-1])["settings"] if done else {}


@dataclass(frozen=True)
class Facts:
    """The facts that ingest found out about a release's input."""

    as_of: str
    source: str
    ids: IdTypes
    rating_scale: tuple[float, float] | None
    n_parts: int
    rows: dict[str, int]
    input: dict[str, Any]
    data: dict[str, Any]

    @property
    def low(self) -> float | None:
        return self.rating_scale and self.rating_scale[0]

    @property
    def high(self) -> float | None:
        return self.rating_scale and self.rating_scale[1]


def facts(release: Release) -> Facts:
    recorded = record(release, "ingest")["facts"]
    scale = recorded["rating_scale"]
    return Facts(**recorded | {"ids": IdTypes(**recorded["ids"]), "rating_scale": tuple(scale) if scale else None})


def served_model(release: Release) -> str:
    """The model that ranks the lists of a release in staging."""
    return record(release, "train")["facts"]["served"]


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def code_digest() -> str:
    """One digest over our own modules: which code made this release, wherever it was installed from."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for package in ("schemas", "warehouse", "jobs"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
