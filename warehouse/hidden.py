"""Items that their owner took out of every list: a file that only grows says what was hidden or shown again, when, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, UTC
from typing import Any

from schemas.errors import ReleaseError
from warehouse import journal
from warehouse.layout import Warehouse
from warehouse.locks import lock


def read(warehouse: Warehouse) -> Mapping[str, dict[str, Any]]:
    """Return what was last noted of each item that is hidden now, by its id as text: `at`, `by` and `reason`.

    An id outlives releases, so it need not be one of the current release. Raises ReleaseError if the file cannot be read.
    """
    try:
        notes = journal.read(warehouse.hidden)
        last = {note["item_id"]: note for note in notes}
        return {item_id: note for item_id, note in last.items() if note["is_hidden"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{warehouse.hidden}: the list of hidden items cannot be read ({type(error).__name__}: {error}); put a good copy in its place"
        ) from None


def note(warehouse: Warehouse, item_id: int | str, *, is_hidden: bool, by: str, reason: str = "") -> dict[str, Any] | None:
    """Hide an item, or show it again; durable when this returns. Nothing is noted of what is so already.

    Returns what was noted when it was hidden, be it now or before; None for an item to be shown that is not hidden.
    """
    with lock(warehouse):
        before = read(warehouse).get(str(item_id))
        if (before is not None) == is_hidden:
            return before
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"item_id": str(item_id), "is_hidden": is_hidden, "at": at, "by": by, "reason": reason}
        journal.append(warehouse.hidden, entry)
        return entry if is_hidden else before
