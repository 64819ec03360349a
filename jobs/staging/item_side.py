"""A release as a Recommender, staged or sealed: its item side is loaded once in each process that computes lists."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from jobs.kernels.item_side import assemble, ItemSide
from jobs.kernels.recommender import Recommender
from schemas.manifest import Manifest
from warehouse import model_files
from warehouse.layout import Release
from warehouse.release import check_there


def recommender(release: Release, served: str, settings: Mapping[str, Any], scale: tuple[float, float] | None) -> Recommender:
    """Return the release with one of its models served. Arrays are memory-mapped, so the processes of one machine share them. Raises
    ReleaseError where one is missing."""
    folders = sorted(path for path in release.models.iterdir() if path.is_dir())
    stamps = tuple((path.name, (path / model_files.PARAMETERS).stat().st_mtime_ns if model_files.exists(path) else 0) for path in folders)
    item_ids, side = _loaded(release, served, stamps)
    return Recommender(item_ids, side, scale, *(settings[name] for name in ("n", "explain_n", "reasons_n", "min_history")))


def recommender_of(release: Release, manifest: Manifest) -> Recommender:
    """Return a sealed release as it serves. Raises ReleaseError where a file of a model is missing or cannot be read."""
    check_there(release, manifest, release.models)
    return recommender(release, manifest.served_model, manifest.settings, manifest.rating_scale)


@lru_cache(maxsize=8)
def _loaded(release: Release, served: str, stamps: tuple[tuple[str, int], ...]) -> tuple[np.ndarray, ItemSide]:
    """Kept until a model of the release is trained again."""
    sides = {name: model_files.load(release.model(name)) for name, _ in stamps}
    return sides["items"][0]["item_ids"], assemble(sides, served=served)
