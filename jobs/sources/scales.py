"""The scale of ratings: as set, or the smallest usual one that holds what is seen."""

from __future__ import annotations

import math

import numpy as np

from schemas.errors import SettingError

USUAL = ((0.0, 1.0), (1.0, 5.0), (0.5, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (1.0, 100.0), (0.0, 100.0))
SHARE = 0.995


def parsed(text: str) -> tuple[float, float] | None:
    """The setting `rating_scale`, `lowest:highest`; None where it is empty."""
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
    of them; None where there is no rating. Half steps begin at 0.5 even where that is rare."""
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
