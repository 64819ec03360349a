"""The finished parts of a step, so that a step that was cut short goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jobs.staging.record import record, write_json
from warehouse.layout import Release


class Finished:
    """Records of finished parts, each written after its part's files. A part counts as done where it was made with the same
    key, which is a digest of all that it was made from and with."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def __getitem__(self, number: int) -> dict[str, int] | None:
        """Figures of a part; None if it is to be made."""
        try:
            kept = json.loads(self._path(number).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return kept["figures"] if kept["key"] == self._key else None

    def __setitem__(self, number: int, figures: dict[str, int]) -> None:
        write_json(self._path(number), {"key": self._key, "figures": figures})

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.json"


def key_of(release: Release, steps: tuple[str, ...], made_with: dict[str, Any]) -> str:
    """One digest over the records of finished steps, which say what they made and when, and over what else decides a part."""
    whole = json.dumps([{name: record(release, name) for name in steps}, made_with], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()
