"""Neighbours of items: as the release has them stored, and beyond those, or of several items together, by the vectors that they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.kernels.neighbours import nearest_to_all
from serving.opened import OpenRelease

SOURCES = ("collaborative", "content")
_STORED = """select rank, similar_item_id, similarity from similar_items
where item_id = ? and source = ? and rank > ? order by rank limit ?"""


def stored_neighbours(opened: OpenRelease, item: Any, source: str, after: int, n: int) -> list[dict[str, Any]]:
    """Read n neighbours of an item from the rank after `after`, none of which is hidden."""
    return [
        {"rank": rank, "item_id": other, "title": opened.title(other), "similarity": similarity}
        for rank, other, similarity in opened.reader().execute(_STORED, [item, source, after, n + len(opened.hidden)])
        if other not in opened.hidden
    ][:n]


def source_of(opened: OpenRelease, items: Sequence[Any]) -> str:
    """The first source that has neighbours of one of the items; the last where none has. From any thread."""
    marks = ", ".join("?" * len(items))
    has = f"select 1 from similar_items where item_id in ({marks}) and source = ? limit 1"  # nosec B608  # question marks
    for source in SOURCES[:-1]:
        if opened.reader().execute(has, [*items, source]).fetchone():
            return source
    return SOURCES[-1]


def nearest(
    opened: OpenRelease, source: str, items: Sequence[Any], n: int, excluded: np.ndarray | None, first: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The n neighbours of items together, by the sum of their similarities, from a comparison with all items; rows that are known to stand
    first stay so. From any thread.

    Neither the items nor what no list may hold, nor excluded (m,) item_num, is among them, under any id; of what is one under several ids
    one is.
    """
    if source not in opened.vectors or len(first) >= n:
        return [*first]
    twins, wanted = opened.side.twins, n - len(first)
    numbers, known = (_numbers(opened, some) for some in (items, [row["item_id"] for row in first]))
    is_out = [twins.with_others(np.append(numbers, known)), opened.side.blocked, *([] if excluded is None else [excluded])]
    of = numbers[twins.once(numbers)]
    found, sums = nearest_to_all(opened.vectors[source], of, wanted + twins.more(wanted), np.concatenate(is_out))
    once = twins.once(found)[:wanted]
    rows = enumerate(zip(opened.item_ids[found[once]].tolist(), sums[once].tolist()), len(first) + 1)
    return [*first, *({"rank": rank, "item_id": item, "title": opened.title(item), "similarity": sum} for rank, (item, sum) in rows)]


def _numbers(opened: OpenRelease, items: Sequence[Any]) -> np.ndarray:
    """Return the item_nums (k,) of known items, ascending, so that it does not matter in which order they are named."""
    return np.sort(np.array([opened.number(item) for item in items], np.int64))
