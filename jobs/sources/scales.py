"""The scale of ratings: as set, or the smallest usual one that holds what is seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from schemas.errors import SettingError

USUAL = ((0.0, 1.0), (1.0, 5.0), (0.5, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (1.0, 100.0), (0.0, 100.0))
SHARE = 0.995
_MOST_ZEROS = 0.1


class Doubt(NamedTuple):
    """A scale that only a few values ask for, which may be marks, such as 99 for "not rated"; `narrow` holds all the others."""

    marks: tuple[float, ...]
    share: float
    narrow: tuple[float, float]


def parsed(text: str) -> tuple[float, float] | None:
    """The setting `rating_scale`, `lowest:highest`; None if it is empty."""
    if not text.strip():
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError
    except ValueError:
        raise SettingError(f"rating_scale: expected lowest:highest, such as 1:5, got {text!r}") from None
    return low, high


def told(ratings: np.ndarray) -> tuple[float, float] | None:
    """The smallest usual scale that holds 99.5 % of the finite ratings, else from the lowest to the highest
    of them; None if there is no rating. Half steps begin at 0.5 even where that is rare."""
    ratings = ratings[np.isfinite(ratings)]
    if not len(ratings):
        return None
    is_half_step = (ratings * 2 % 1 == 0).mean() >= SHARE and (ratings % 1 == 0.5).mean() > 1 - SHARE
    for low, high in USUAL:
        if is_half_step and (low, high) == (1.0, 5.0):
            continue
        if ((ratings >= low) & (ratings <= high)).mean() >= SHARE:
            return low, high
    low, high = float(ratings.min()), float(ratings.max())
    return (low, high) if low < high else (min(low, 0.0), max(high, 0.0))


def doubt(ratings: np.ndarray, scale: tuple[float, float]) -> Doubt | None:
    """Whether one or two values alone make a scale as wide as it is: those below zero or further above than the scale of the
    others is long, up to half of the ratings; and zero, up to a tenth."""
    ratings = ratings[np.isfinite(ratings)]
    for low, high in USUAL:
        if low < scale[0] or high > scale[1] or (low, high) == scale:
            continue
        outside = ratings[(ratings < low) | (ratings > high)]
        marks, share = np.unique(outside), len(outside) / len(ratings)
        is_far = (marks < 0) | (marks > 2 * high - low)
        is_mark = is_far | ((marks == 0) & (share < _MOST_ZEROS))
        if 1 - SHARE < share < 0.5 and len(marks) <= 2 and is_mark.all():
            return Doubt(tuple(marks.tolist()), share, (low, high))
    return None
