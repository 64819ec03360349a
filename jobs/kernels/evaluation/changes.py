"""Why a user's list changed from one release to the next, by substitution.

A list is a function of a history and an item side, and both changed. So the same list is computed twice more: from the new
history with the old side, and from the old history with the new side. An item that went or came

    already rated     is in the history now and so left out, or was in it and no longer is
    filter            may not be listed in the other release: it is blocked there, or not known to it
    history           comes or goes with the new history alone, while the new side alone changes nothing about it
    item side         comes or goes with the new side alone, while the new history alone changes nothing about it
    history and item side   comes or goes with either of them alone, or only with both together

A miniature: the list was (1, 2) and is (2, 3). With the new history alone it would be (2, 3), with the new side alone (1, 2):
item 1 went and item 3 came because of the history.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

RATED, FILTER, HISTORY, SIDE, BOTH = "already rated", "filter", "history", "item side", "history and item side"


class Lists(NamedTuple):
    """Heads of a user's list as item ids: as it was and is, and with one of the two changed."""

    before: Sequence[Hashable]
    now: Sequence[Hashable]
    new_history: Sequence[Hashable]
    new_side: Sequence[Hashable]


class Change(NamedTuple):
    """An item that came or went: its rank in either list (None: not in it), and why."""

    item_id: Hashable
    rank_before: int | None
    rank_now: int | None
    cause: str


def changes(
    lists: Lists, *, rated: tuple[Collection[Hashable], Collection[Hashable]], listable: tuple[Collection[Hashable], Collection[Hashable]]
) -> list[Change]:
    """List what went, in its old order, then what came, in its new.

    Parameters
    ----------
    lists : the list before and the list now, of one user
    rated : the items of the history before and now
    listable : the items that either release may list at all
    """
    before, now = ({item: rank for rank, item in enumerate(items, 1)} for items in lists[:2])
    all_changes = [
        Change(item, rank, None, _cause(item, lists, rated[1], listable[1], was=True)) for item, rank in before.items() if item not in now
    ]
    all_changes += [
        Change(item, None, rank, _cause(item, lists, rated[0], listable[0], was=False)) for item, rank in now.items() if item not in before
    ]
    return all_changes


def _cause(item: Hashable, lists: Lists, rated: Collection[Hashable], listable: Collection[Hashable], *, was: bool) -> str:
    """`rated` and `listable` are those of the release that does not list the item."""
    if item in rated:
        return RATED
    if item not in listable:
        return FILTER
    by_history, by_side = (item in lists.new_history) != was, (item in lists.new_side) != was
    if by_history != by_side:
        return HISTORY if by_history else SIDE
    return BOTH
