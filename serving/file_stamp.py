"""Tell whether a file is another one than before, without reading it."""

from __future__ import annotations

import os

Stamp = tuple[int, int, int]


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """Return which file is at a path, since when, and its size; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
