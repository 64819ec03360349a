"""All interactions to train on as arrays, user after user: written by the parts, joined, memory-mapped by whoever needs a range.

The files lie on storage that driver and executors share. A task maps them and touches its own rows only, so nothing is
sent and nothing is collected, and the processes of one machine share the pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.histories import concatenated, Histories
from warehouse.atomic import join_arrays, save_array

TYPES: Mapping[str, type] = {
    "indptr": np.int64,
    "items": np.int32,
    "strengths": np.float32,
    "ratings": np.float32,
    "moments": np.int32,
}


COUNTS = "counts"  # there where items may come again


class Interactions:
    """Rows of users as in Histories, with n_items; the arrays are in memory or mapped from a folder."""

    def __init__(self, arrays: Mapping[str, np.ndarray], n_items: int, folder: Path | None = None) -> None:
        self.indptr, self.items, self.strengths, self.ratings, self.moments = (arrays[name] for name in TYPES)
        self.counts = arrays.get(COUNTS)
        self.n_items = n_items
        self._folder = folder

    @classmethod
    def open(cls, folder: Path, n_items: int) -> Interactions:
        there = [name for name in (*TYPES, COUNTS) if (folder / f"{name}.npy").exists()]
        return cls({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in there}, n_items, folder)

    def __reduce__(self):
        """To a task goes the folder, not the rows."""
        if self._folder is None:
            return Interactions, ({name: getattr(self, name) for name in (*TYPES, COUNTS)}, self.n_items)
        return Interactions.open, (self._folder, self.n_items)

    @property
    def n_users(self) -> int:
        return len(self.indptr) - 1

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def has_order(self) -> bool:
        """Whether any interaction came after another of its user."""
        return bool(self.moments.any())

    def histories(self, start: int, stop: int) -> Histories:
        """Users start..stop, as the kernels take them."""
        rows = slice(int(self.indptr[start]), int(self.indptr[stop]))
        return Histories(
            np.asarray(self.indptr[start : stop + 1]) - rows.start,
            np.asarray(self.items[rows]),
            self.strengths[rows].astype(np.float64),
            self.ratings[rows].astype(np.float64),
            self.moments[rows].astype(np.int64),
            None if self.counts is None else self.counts[rows].astype(np.int64),
        )

    def some(self, n: int) -> Histories:
        """n users, evenly spread over all."""
        users = np.unique(np.linspace(0, self.n_users - 1, min(n, self.n_users)).astype(np.int64))
        return concatenated([self.histories(user, user + 1) for user in users.tolist()])

    def matrix(self, values: np.ndarray) -> csr_matrix:
        """(n_users, n_items) with one value an interaction."""
        return csr_matrix((values, self.items, self.indptr), shape=(self.n_users, self.n_items))


def write_part(folder: Path, number: int, histories: Histories) -> None:
    """The rows of one part, whose users come after those of the part before; parts may be written at once and again."""
    for name, kind in (TYPES | ({} if histories.counts is None else {COUNTS: np.int32})).items():
        values = np.diff(histories.indptr) if name == "indptr" else getattr(histories, name)
        save_array(_part(folder, name, number), values.astype(kind))


def join_parts(folder: Path, name: str, n_parts: int) -> None:
    """One of the arrays, from the parts, when they are all written."""
    paths = [_part(folder, name, number) for number in range(n_parts)]
    if name == "indptr":
        lengths = np.concatenate([np.load(path) for path in paths])
        save_array(folder / "indptr.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    else:
        join_arrays(paths, folder / f"{name}.npy")


def _part(folder: Path, name: str, number: int) -> Path:
    return folder / "parts" / f"{name}-{number:05d}.npy"
