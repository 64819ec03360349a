"""Lists computed now, from a history, by the very functions that the weekly batch maps over every user."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels.lists import Lists
from serving.opened import OpenRelease
from serving.rows import Listed, listed, Reason, reasons
from warehouse.overlay import Held, stored

log = logging.getLogger("cinematch.serving")

History = Mapping[Any, Held]
"""The interactions of one user, by item."""


class Solved(NamedTuple):
    """A list and its reasons by item, and the items of the history that it was computed from."""

    rows: list[Listed]
    reasons: dict[Any, list[Reason]]
    has: frozenset[Any]


def stored_history(opened: OpenRelease, user_id: Any) -> History:
    """A user's rows in the release; callable from any thread."""
    return stored(opened.reader(), user_id)


def solve(opened: OpenRelease, rows: History, *, n: int, excluded: np.ndarray | None = None, explain_n: int | None = None) -> Solved:
    """The list of a history: up to n items; without explain_n as many of them with reasons as the batch stores."""
    recommender = opened.recommender
    return _solved(opened, rows, recommender.lists(recommender.history(rows), n=n, explain_n=explain_n, excluded=excluded))


def solve_or_popular(
    opened: OpenRelease, rows: History, *, n: int, excluded: np.ndarray | None = None, explain_n: int | None = None
) -> Solved:
    """Solve the list of a history; a history that cannot be solved is safe in the overlay, and gets the fallback until the next release."""
    try:
        return solve(opened, rows, n=n, excluded=excluded, explain_n=explain_n)
    except ValueError:
        log.exception("release %s: a list of %d interactions cannot be solved; the fallback is given", opened.id, len(rows))
        return _solve_popular(opened, rows, n=n)


def _solve_popular(opened: OpenRelease, rows: History, *, n: int) -> Solved:
    """The list that a history gets which cannot be ranked by."""
    recommender = opened.recommender
    return _solved(opened, rows, recommender.popular(recommender.history(rows), n=n))


def solve_pairs(opened: OpenRelease, rows: History, items: Iterable[Any], *, reasons_n: int | None = None) -> Solved:
    """Solve rows for given items, in their order; every one must be known to the release. A reasons_n that holds the whole history
    splits the score over every row of it."""
    recommender = opened.recommender
    targets = np.array([recommender.number(item) for item in items], np.int32)
    return _solved(opened, rows, recommender.pairs(recommender.history(rows), targets, reasons_n=reasons_n))


def _solved(opened: OpenRelease, rows: History, lists: Lists) -> Solved:
    return Solved(listed(opened, lists), _by_item(reasons(opened, lists)), frozenset(rows))


def _by_item(all_reasons: Iterable[Reason]) -> dict[Any, list[Reason]]:
    grouped: dict[Any, list[Reason]] = {}
    for reason in all_reasons:
        grouped.setdefault(reason.item_id, []).append(reason)
    return grouped
