"""Lists for somebody who named genres that they like, be it with a history or without: what stands first is of these genres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.filters import genre_numbers
from serving.opened import OpenRelease
from serving.response import RequestError
from serving.solve import History, solve, Solved

MOST_GENRES = 100
OF_GENRE, OF_ALL = "popular_genre", "popular"


def solve_liked(
    opened: OpenRelease, rows: History, genres: Sequence[str], *, n: int, excluded: np.ndarray | None = None, explain_n: int | None = None
) -> Solved:
    """The list of a history, items of one of the genres at least first: those that the model ranks by the history, where it is long enough,
    then the popular ones. Where they are fewer than n, the others follow in the same way, so that n come unless fewer are left.
    Without genres it is the list of the history alone. Raises RequestError naming a genre that the release has not.
    """
    if not genres:
        return solve(opened, rows, n=n, excluded=excluded, explain_n=explain_n)
    if len(genres) > MOST_GENRES:
        raise RequestError(f"genres: {len(genres)} genres, expected at most {MOST_GENRES}")
    left_out = np.zeros(0, np.int64) if excluded is None else excluded
    of_others = np.flatnonzero(~opened.side.has_genre(genre_numbers(opened, "genres", genres)))
    first = solve(opened, rows, n=n, excluded=np.union1d(left_out, of_others), explain_n=explain_n)
    liked = [row._replace(source=OF_GENRE) if row.source == OF_ALL else row for row in first.rows]
    if len(liked) == n:
        return first._replace(rows=liked)
    shown = opened.side.twins.with_others(np.array([opened.number(row.item_id) for row in liked], np.int64))
    rest = solve(opened, rows, n=n - len(liked), excluded=np.union1d(left_out, shown), explain_n=explain_n)
    others = [row._replace(rank=row.rank + len(liked)) for row in rest.rows]
    return Solved([*liked, *others], first.reasons | rest.reasons, first.has)
