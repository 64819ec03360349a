"""The scores that can be among the n best, found without sorting them all."""

from __future__ import annotations

import numpy as np

GROUPS_A_PLACE = 24  # enough that two of the n best rarely share a group, few enough to be sorted for next to nothing


def near_best(scores: np.ndarray, n: int, *, noise: float = 0.0) -> np.ndarray:
    """Items (c,) int32, ascending, that score no less than the n-th best of scores (n_items,) less noise; never one at -inf.

    The n-th best of the maxima of n or more groups is a score that n items have at least, and is most often the n-th best
    itself, so only what reaches it is sorted.
    """
    floor = np.finfo(scores.dtype).min
    n_groups = n * GROUPS_A_PLACE
    if 0 < n_groups < len(scores):
        even = len(scores) // n_groups * n_groups
        maxima = scores[:even].reshape(-1, n_groups).max(axis=0)
        floor = max(floor, np.partition(maxima, n_groups - n)[n_groups - n] - noise)
    found = np.flatnonzero(scores >= floor)
    if len(found) > n > 0:
        values = scores[found]
        found = found[values >= np.partition(values, len(found) - n)[len(found) - n] - noise]
    return found.astype(np.int32)
