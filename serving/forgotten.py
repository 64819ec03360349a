"""The forgotten users as a server knows them: read again when the list changes, and kept where it is damaged or gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.errors import ReleaseError
from serving.file_stamp import Stamp, stamp_of
from warehouse import forgotten


class ForgottenUsers:
    """Ask with `in`; the answer is that of this moment. `problem` says what is wrong with the file, where something is.

    A list that was known is not given up for a damaged one: who was forgotten stays so.
    """

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self._path, self._name = path, str(path)
        self._changed = changed
        self._known = forgotten.Forgotten("", frozenset())
        self._seen: Stamp | None = None
        self.problem: str | None = None
        self.look()

    def __contains__(self, user_id: Any) -> bool:
        return user_id in self.known

    @property
    def known(self) -> forgotten.Forgotten:
        """The list as it is this moment."""
        self.look()
        return self._known

    def look(self) -> None:
        """Read the list again where the file is another one than before."""
        seen = stamp_of(self._name)
        if seen == self._seen:
            return
        self._seen = seen
        if seen is None:
            self.problem = f"{self._path}: the list of forgotten users is gone; put it back. Until then those known go on"
            return
        try:
            self._known, self.problem = forgotten.read(self._path), None
        except ReleaseError as error:
            self._known, self.problem = self._known or forgotten.salvaged(self._path), str(error)
        self._changed()
