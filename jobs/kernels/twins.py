"""Twins: items that are one thing under several ids. Who has one of them needs none of the others, and a list names one alone.

A miniature: items 2 and 5 are twins, so first is [0, 1, 2, 3, 4, 2]. A history with item 5 has both; of the ranking 5, 0, 2 the
list is 5, 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jobs.kernels.histories import Histories


@dataclass(frozen=True)
class Twins:
    """Items that are one under several ids.

    first (n_items,) int32 is the lowest item_num of those that an item is one with, its own if it is alone. It has length 0 if no item has a
    twin, and then nothing costs anything.
    """

    first: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    @cached_property
    def _members(self) -> np.ndarray:
        """All items with a twin, ascending."""
        counts = np.bincount(self.first)
        return np.flatnonzero(counts[self.first] > 1) if len(self.first) else np.zeros(0, np.int64)

    @cached_property
    def _is_member(self) -> np.ndarray:
        is_member = np.zeros(len(self.first), bool)
        is_member[self._members] = True
        return is_member

    @cached_property
    def _groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members group after group, and where the group of each member begins among them, and how many it has, by item_num."""
        by_group = self._members[np.argsort(self.first[self._members], kind="stable")]
        counts = np.bincount(self.first, minlength=len(self.first))
        starts = np.zeros(len(self.first), np.int64)
        starts[by_group] = np.searchsorted(self.first[by_group], self.first[by_group])
        return by_group, starts, counts[self.first]

    def more(self, n: int) -> int:
        """Return how many items more than n have to be ranked, so that n are left when each is named once."""
        if not len(self._members):
            return 0
        sizes = np.bincount(self.first[self._members])
        return int(min(len(self._members) - (sizes > 0).sum(), n * (sizes.max() - 1)))

    def with_others(self, items: np.ndarray) -> np.ndarray:
        """Return the items (k,) and all that they are one with; some may be named twice."""
        if not len(self._members) or not self._is_member[items].any():
            return items
        groups = self.first[items[self._is_member[items]]]
        return np.concatenate([items, self._members[np.isin(self.first[self._members], groups)]]).astype(items.dtype)

    def once(self, items: np.ndarray) -> np.ndarray:
        """Places (k',), ascending, of the items (k,) whose twin does not stand before them."""
        if not len(self._members) or self._is_member[items].sum() < 2:
            return np.arange(len(items))
        return np.sort(np.unique(self.first[items], return_index=True)[1])

    def has(self, histories: Histories) -> Histories:
        """Return users with what they have and all that it is one with, in any order and some of it twice.

        That is what their lists leave out, and no history to rank by.
        """
        if not len(self._members) or not self._is_member[histories.items].any():
            return histories
        members, starts, sizes = self._groups
        rows = np.flatnonzero(self._is_member[histories.items])
        n_more, users = sizes[histories.items[rows]], np.searchsorted(histories.indptr, rows, "right") - 1
        ends = np.cumsum(n_more)
        more = members[np.arange(ends[-1]) + np.repeat(starts[histories.items[rows]] - (ends - n_more), n_more)]
        items = np.insert(histories.items, np.repeat(histories.indptr[users + 1], n_more), more)
        indptr = histories.indptr + np.concatenate([[0], np.cumsum(np.bincount(users, n_more, len(histories)))]).astype(np.int64)
        nothing = np.zeros(len(items))
        return Histories(indptr, items, nothing, nothing, nothing.astype(np.int64))
