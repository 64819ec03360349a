"""Filters of lists: which items a request leaves out, by genre, tag, year and id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.ids import listed_items
from serving.opened import OpenRelease
from serving.parameters import EXCLUDE, FILTERS
from serving.response import RequestError

_NAMES = tuple(parameter.name for parameter in (*FILTERS, EXCLUDE))


def is_filtered(values: Mapping[str, Any]) -> bool:
    """Tell whether a request leaves anything out."""
    return any(map(values.get, _NAMES))


def excluded_items(opened: OpenRelease, values: Mapping[str, Any]) -> np.ndarray | None:
    """Return the item_nums (m,) that a request leaves out, ascending; None if it leaves nothing out.

    An item without a year is of no span of years. Raises RequestError naming an id that can be none, or a genre or tag that the release has not.
    """
    if not is_filtered(values):
        return None
    side, is_out = opened.side, np.zeros(opened.side.n_items, bool)
    if values["genre"]:
        is_out |= ~side.has_genre(genre_numbers(opened, "genre", [values["genre"]]))
    if values["any_genre"]:
        is_out |= ~side.has_genre(genre_numbers(opened, "any_genre", values["any_genre"]))
    if values["all_genres"]:
        wanted = genre_numbers(opened, "all_genres", values["all_genres"])
        is_out |= side.count_genres(wanted) < len(wanted)
    if values["no_genre"]:
        is_out |= side.has_genre(genre_numbers(opened, "no_genre", values["no_genre"]))
    if values["any_tag"]:
        is_out |= _count_tags(opened, "any_tag", values["any_tag"]) == 0
    if values["all_tags"]:
        is_out |= _count_tags(opened, "all_tags", values["all_tags"]) < len(set(values["all_tags"]))
    if values["no_tag"]:
        is_out |= _count_tags(opened, "no_tag", values["no_tag"]) > 0
    first, last = values["year_from"], values["year_to"]
    if first is not None or last is not None:
        is_out |= ~((opened.years >= (first or -np.inf)) & (opened.years <= (last or np.inf)))
    for item in listed_items(opened, "exclude", values.get("exclude", ())):
        number = opened.number(item)
        if number is not None:
            is_out[number] = True
    return np.flatnonzero(is_out)


def known_genre(opened: OpenRelease, genre: str, name: str = "genre") -> str:
    if genre not in opened.genres:
        shown = ", ".join(opened.genres[:30]) or "none"
        raise RequestError(f"{name}: release {opened.id} has no genre {genre[:100]!r}; it has {shown}")
    return genre


def genre_numbers(opened: OpenRelease, name: str, genres: Sequence[str]) -> list[int]:
    """Return the columns of some genres, each once."""
    return [opened.genres.index(known_genre(opened, genre, name)) for genre in dict.fromkeys(genres)]


def _count_tags(opened: OpenRelease, name: str, tags: Iterable[str]) -> np.ndarray:
    """Count of these tags, each once, those that each item has; (n_items,) int64. Raises RequestError naming one that no item has."""
    counts = np.zeros(opened.side.n_items, np.int64)
    for tag in dict.fromkeys(tags):
        if tag not in opened.tags:
            raise RequestError(
                f"{name}: release {opened.id} has no tag {tag[:100]!r}; /items/ID shows the tags of an item, upper and lower case as they are"
            )
        counts[opened.tags[tag]] += 1
    return counts
