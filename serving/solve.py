"""Lists computed now, from a history, by the very functions that the weekly batch maps over every user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels.histories import Histories, one_history
from jobs.kernels.lists import recommend
from jobs.kernels.pairs import score_items
from serving.opened import OpenRelease
from serving.rows import Listed, listed, Reason, reasons


class HistoryRow(NamedTuple):
    """One interaction of a user, as the `ratings` table has it."""

    item_id: int | str
    rating: float | None
    weight: float
    rated_at: int | None


class Solved(NamedTuple):
    """A list and its reasons by item, and the items of the history that it was computed from."""

    rows: list[Listed]
    reasons: dict[Any, list[Reason]]
    has: frozenset


def stored_history(opened: OpenRelease, user_id: Any) -> list[HistoryRow]:
    """A user's rows in the release, by item id; callable from any thread."""
    rows = opened.reader().execute(
        "select item_id, rating, weight, rated_at from ratings where user_id = ? order by item_id", [user_id]
    )
    return [HistoryRow(*row) for row in rows.fetchall()]


def histories(opened: OpenRelease, rows: Sequence[HistoryRow]) -> Histories:
    low, high = opened.manifest.rating_scale or (None, None)
    return one_history(
        opened.item_ids,
        [row.item_id for row in rows],
        [row.rating for row in rows],
        [row.weight for row in rows],
        [row.rated_at for row in rows],
        low=low,
        high=high,
    )


def solve(
    opened: OpenRelease,
    rows: Sequence[HistoryRow],
    *,
    n: int,
    excluded: np.ndarray | None = None,
    explain_n: int | None = None,
    min_history: int | None = None,
) -> Solved:
    """The list of a history: up to n items; without explain_n as many of them with reasons as the batch stores."""
    settings = opened.manifest.settings
    lists = recommend(
        opened.side,
        histories(opened, rows),
        n=n,
        explain_n=settings["explain_n"] if explain_n is None else explain_n,
        reasons_n=settings["reasons_n"],
        min_history=settings["min_history"] if min_history is None else min_history,
        excluded=excluded,
    )
    return Solved(listed(opened, lists), _by_item(reasons(opened, lists)), frozenset(row.item_id for row in rows))


def solve_pairs(
    opened: OpenRelease, rows: Sequence[HistoryRow], items: Iterable[Any], *, reasons_n: int | None = None
) -> Solved:
    """The same for given items, in their order; every one must be known to the release. A reasons_n that holds the whole history
    splits the score over every row of it."""
    settings = opened.manifest.settings
    targets = np.array([opened.number(item) for item in items], np.int32)
    lists = score_items(
        opened.side,
        histories(opened, rows),
        targets,
        reasons_n=settings["reasons_n"] if reasons_n is None else reasons_n,
        min_history=settings["min_history"],
        is_whole=reasons_n is not None,
    )
    return Solved(listed(opened, lists), _by_item(reasons(opened, lists)), frozenset(row.item_id for row in rows))


def _by_item(found: Iterable[Reason]) -> dict[Any, list[Reason]]:
    grouped: dict[Any, list[Reason]] = {}
    for reason in found:
        grouped.setdefault(reason.item_id, []).append(reason)
    return grouped


def outside_genre(opened: OpenRelease, genre: str) -> np.ndarray:
    """item_nums without this genre."""
    column = opened.genres.index(genre)
    has = np.zeros(opened.side.n_items, bool)
    matrix = opened.side.genres
    has[np.repeat(np.arange(opened.side.n_items), np.diff(matrix.indptr))[matrix.indices == column]] = True
    return np.flatnonzero(~has)
