"""Styles and scripts of our pages, read once; their addresses change with their bytes, so that a browser may keep them for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).with_name("static")
PREFIX = "/-/cinematch/"
_KINDS = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8"}

FILES = {f"{PREFIX}{path.name}".encode(): (path.read_bytes(), _KINDS[path.suffix]) for path in FOLDER.iterdir() if path.suffix in _KINDS}


def address(name: str) -> str:
    """Where a page finds a file."""
    path = PREFIX + name
    return f"{path}?{hashlib.sha256(FILES[path.encode()][0]).hexdigest()[:12]}"
