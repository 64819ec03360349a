"""The item side of a release in staging, loaded once in each process that computes lists."""

from __future__ import annotations

from functools import lru_cache

from jobs.kernels.item_side import assemble, ItemSide
from warehouse import item_side
from warehouse.layout import Release


def load(release: Release, served: str) -> ItemSide:
    """Arrays are memory-mapped, so the processes of one machine share them. Raises ReleaseError where one is missing."""
    folders = sorted(path for path in release.models.iterdir() if path.is_dir())
    stamps = tuple(
        (path.name, (path / item_side.PARAMETERS).stat().st_mtime_ns if item_side.exists(path) else 0)
        for path in folders
    )
    return _loaded(release, served, stamps)


@lru_cache(maxsize=8)
def _loaded(release: Release, served: str, stamps: tuple[tuple[str, int], ...]) -> ItemSide:
    """Kept until a model of the release is trained again."""
    return assemble({name: item_side.load(release.model(name)) for name, _ in stamps}, served=served)
