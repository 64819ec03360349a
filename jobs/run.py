"""run: every step in order, one release; and one step by name."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

from jobs.commands.summary import print_summary
from jobs.machine import needs
from jobs.machine.progress import PeakMemory
from jobs.staging.file_locks import locked
from jobs.staging.record import record, Step, step, STEPS
from schemas.errors import HeldBack, ResourceError, SettingError, StepError
from schemas.settings import Settings
from warehouse import catalog, promotion, pruning, release as releases, signature
from warehouse.claims import claimed, sweep
from warehouse.layout import Warehouse
from warehouse.measures import main_figures

log = logging.getLogger("cinematch")

NEEDS = {
    "ingest": (),
    "train": ("ingest",),
    "evaluate": ("ingest", "train"),
    "recommend": ("ingest", "train"),
    "seal": ("ingest", "train", "evaluate", "recommend"),
}


def run_step(name: str, warehouse: Warehouse, release_id: str, settings: Settings, *, model: str | None = None) -> dict[str, Any]:
    """Run one step, or of `train` one model; returns its figures. A sealed release is not built again: its steps end at once,
    well. The steps of one release wait for each other, for instance for what a scheduler that died has left running."""
    if name == "promote":
        return promote(warehouse, release_id, settings)
    if name in ("ingest", "train"):
        from jobs.train.requested_models import chosen_models

        chosen_models(settings)  # a model that cannot be is said before hours are spent
    if settings.sign_key:
        signature.signing_key(Path(settings.sign_key))  # and so is a key that cannot sign
    if warehouse.sealed(release_id).folder.exists():
        return _sealed_already(name, warehouse, release_id)
    staged = warehouse.staged(release_id)
    if name == "ingest":
        staged.folder.mkdir(parents=True, exist_ok=True)
        staged.work.mkdir(exist_ok=True)
    with locked(staged.lock, is_shared=model is not None) if staged.work.exists() else nullcontext():
        if warehouse.sealed(release_id).folder.exists():
            return _sealed_already(name, warehouse, release_id)
        with step(name, staged, settings, needs=NEEDS[name], part=model) as running:
            if name != "ingest":  # which looks at its input first
                counts = needs.counts_of(record(staged, "ingest")["figures"])
                needs.check(name, needs.step_need(name, counts, settings), settings, warehouse.folder)
            with _said_plainly(name, warehouse):
                _do(name, running, warehouse, model)
    if name == "seal" or running.held_back:
        catalog.rebuild(warehouse)
    return running.figures


@contextmanager
def _said_plainly(name: str, warehouse: Warehouse) -> Iterator[None]:
    """A full disk as the error that it is, whoever met it: Arrow, SQLite, or Spark, which tells of it in a page of Java."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ResourceError) or not needs.is_disk_full(error):
            raise
        free = needs.free_disk(warehouse.folder) / 2**20
        raise ResourceError(
            f"{name}: the disk of {warehouse.folder} took no more ({free:,.0f} MiB are free); free some, or prune releases, and run "
            f"it again"
        ) from error


def _sealed_already(name: str, warehouse: Warehouse, release_id: str) -> dict[str, Any]:
    log.info("%s: release %s is sealed already; nothing to do", name, release_id)
    shutil.rmtree(warehouse.staged(release_id).work, ignore_errors=True)  # where sealing was cut short after its rename
    return {"step": name, "release": release_id, "is_sealed": True}


def _do(name: str, running: Step, warehouse: Warehouse, model: str | None) -> None:
    """Import and call the step; each imports only what it needs, so that a light step starts fast."""
    if name == "ingest":
        from jobs.ingest.step import ingest

        ingest(running, warehouse)
    elif name == "train":
        from jobs.train.step import train, train_model

        train(running) if model is None else train_model(running, model)
    elif name == "evaluate":
        from jobs.evaluate.step import evaluate

        evaluate(running, warehouse)
    elif name == "recommend":
        from jobs.recommend.step import recommend

        recommend(running)
    else:
        from jobs.seal.step import seal

        seal(running, warehouse)


def promote(warehouse: Warehouse, release_id: str, settings: Settings) -> dict[str, Any]:
    """Point at a sealed release that its verdict lets pass, then prune what is no longer kept. A release that is held back
    stays as it is, and the figures say why."""
    from jobs.ingest.overlay_archive import compact

    started = time.monotonic()
    manifest = releases.read_manifest(warehouse.sealed(release_id))
    verdict, reason = manifest.verdict.get("decision"), manifest.verdict.get("reason", "")
    figures: dict[str, Any] = {"step": "promote", "release": release_id, "verdict": verdict, "reason": reason, **main_figures(manifest)}
    previous = releases.current_id(warehouse)
    try:
        promotion.promote(warehouse, release_id, reason=reason, by="verdict", trusted=signature.trusted(settings.trusted_keys))
        catalog.rebuild(warehouse)  # which keeps what it knows of a release that goes
        pruned = pruning.prune(warehouse, keep=settings.keep, keep_days=settings.keep_days)
        for name, why in pruned.items():
            log.info("promote: removed release %s, %s; its row stays in the catalogue", name, why)
        figures |= {"is_promoted": True, "previous": previous, "n_pruned": len(pruned), "n_compacted": compact(warehouse)}
    except HeldBack as error:
        figures |= {"is_promoted": False, "previous": previous, "message": str(error)}
    catalog.rebuild(warehouse)
    return figures | {"seconds_s": round(time.monotonic() - started, 3)}


def run(settings: Settings, *, release_id: str | None = None) -> dict[str, Any]:
    """Every step of one release, from source to promotion or to being held back; a failed run leaves nothing behind but its
    log."""
    warehouse = Warehouse(Path(settings.warehouse).absolute())  # workers of a cluster run in other folders
    sweep(warehouse)
    release_id = release_id or releases.new_id(warehouse, datetime.now(UTC))
    staged = warehouse.staged(release_id)
    if warehouse.sealed(release_id).folder.exists():
        raise StepError(f"release {release_id} is sealed already; leave --release out to build a new one")
    if signature.trusted(settings.trusted_keys) and not settings.sign_key:
        raise SettingError(
            "trusted_keys is set and sign_key is not: the release could not be promoted; set sign_key, or run the steps one by one"
        )
    started = time.monotonic()
    figures: dict[str, dict[str, Any]] = {}
    with claimed(staged), PeakMemory() as peak:
        for name in STEPS:
            figures[name] = last = run_step(name, warehouse, release_id, settings)
            if not last.get("is_promoted", True):
                break
    if name == "promote":
        print_summary(warehouse, release_id)
    ingest = figures["ingest"]
    return {
        "step": "run",
        "release": release_id,
        **{k: v for k, v in ingest.items() if k.startswith("n_")},
        **{f"{name}_s": done["seconds_s"] for name, done in figures.items()},
        **{k: v for k, v in last.items() if k in ("is_promoted", "message")},
        "seconds_s": round(time.monotonic() - started, 3),
        "peak_mib": round(peak.mib, 1),
    }
