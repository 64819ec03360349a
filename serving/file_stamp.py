"""Tell whether a file is another one than before, without reading it."""

from __future__ import annotations

import os

Stamp = tuple[int, int, int]


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """Return which file is at a path, since when, and its size; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
