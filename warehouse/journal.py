"""Files that only grow, one JSON object a line: durable when written, and readable after a crash at any byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def append(path: Path, *entries: dict[str, Any]) -> None:
    """Add entries on lines of their own, whatever a crash left of the last one."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        else:
            is_torn = False
        file.write((b"\n" if is_torn else b"") + b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """Every entry, oldest first. A line that a crash cut short is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
