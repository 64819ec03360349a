"""The item side of a release in staging, loaded once in each process that computes lists."""

from __future__ import annotations

from functools import lru_cache

from jobs.kernels.lists import assemble, ItemSide
from warehouse import item_side
from warehouse.layout import Release


@lru_cache(maxsize=8)
def load(release: Release, served: str) -> ItemSide:
    """Arrays are memory-mapped, so the processes of one machine share them. Raises ReleaseError where one is missing."""
    found = sorted(path.name for path in release.models.iterdir())
    return assemble({name: item_side.load(release.model(name)) for name in found}, served=served)
