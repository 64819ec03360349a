"""Rows of several owners, those of one after those of another: owner k has the rows indptr[k]:indptr[k + 1].

A miniature: indptr (0, 2, 2, 3) says that the first owner has two rows, the second none, the third one. The owners of the rows
are 0, 0 and 2, and their places among the owner's are 0, 1 and 0.
"""

from __future__ import annotations

import numpy as np


def owners(indptr: np.ndarray) -> np.ndarray:
    """Return the owner of each row, (m,) int64, for indptr (u + 1,)."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def places(indptr: np.ndarray) -> np.ndarray:
    """Return the place of each row among those of its owner, (m,) int64 counted from 0, for indptr (u + 1,) that begins at 0."""
    return np.arange(indptr[-1]) - np.repeat(indptr[:-1], np.diff(indptr))


def runs(owner_of: np.ndarray) -> np.ndarray:
    """Return where rows of one owner begin and end, (r + 1,) int64, for owners (m,) >= 0 of rows that stand together."""
    return np.append(np.flatnonzero(np.diff(owner_of, prepend=-1)), len(owner_of))
