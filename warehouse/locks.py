"""The warehouse's lock: one at a time among the processes that move the pointer, remove releases or forget users."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from warehouse.layout import Warehouse


@contextmanager
def lock(warehouse: Warehouse) -> Iterator[None]:
    """Wait for whoever holds it; it is gone with its process, however that ends."""
    warehouse.folder.mkdir(parents=True, exist_ok=True)
    with warehouse.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
