"""ALS by fold-in, alternated: all users against the item factors, then all items against the user factors.

Both sides lie as memory-mapped arrays on storage that every task shares; a task solves one range of rows, of about as many
interactions as any other, and writes its factors in place. The user side is scaffolding and is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.interactions import Interactions
from jobs.kernels.alternate import half_explicit, half_implicit, held, started
from jobs.kernels.factors import gramian
from jobs.kernels.histories import Histories
from jobs.runner import Runner

RANGES_A_WORKER = 4
BLOCK = 1 << 20


@dataclass(frozen=True)
class Equations:
    """What is solved: implicit with alpha, or explicit where alpha is None; reg, factors, iterations and the seed to start from."""

    alpha: float | None
    reg: float
    n_factors: int
    n_iterations: int
    seed: int


def item_factors(
    interactions: Interactions,
    value_of: Callable[[Histories], np.ndarray],
    equations: Equations,
    run: Runner,
    folder: Path,
) -> tuple[np.ndarray, float]:
    """Item factors (n_items, f) float32 and the final objective. value_of gives the values (m,) of a block of whole histories:
    strengths or errors. Works in `folder`, and leaves nothing there."""
    try:
        by_user, by_item = _sides(interactions, value_of, run, folder)
        counts = np.diff(by_item.indptr)
        _save(folder / "items.npy", started(counts, equations.n_factors, seed=equations.seed))
        _save(folder / "users.npy", np.zeros((interactions.n_users, equations.n_factors), np.float32))
        loss = 0.0
        for number in range(1, equations.n_iterations + 1):
            _solve(
                by_user, "users", "items", equations, run, folder, label=f"als {number}/{equations.n_iterations} users"
            )
            loss = _solve(
                by_item, "items", "users", equations, run, folder, label=f"als {number}/{equations.n_iterations} items"
            )
        users = np.load(folder / "users.npy", mmap_mode="r")
        return np.load(folder / "items.npy"), loss + held(np.diff(by_user.indptr), users, equations.reg)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Side:
    """One side's rows, their columns in the other side and their values, as files."""

    folder: Path

    @property
    def indptr(self) -> np.ndarray:
        return np.load(self.folder / "indptr.npy", mmap_mode="r")

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        indptr = np.asarray(self.indptr[start : stop + 1])
        span = slice(int(indptr[0]), int(indptr[-1]))
        columns, values = (np.load(self.folder / f"{name}.npy", mmap_mode="r")[span] for name in ("columns", "values"))
        return indptr - indptr[0], columns, values

    def ranges(self, n: int) -> np.ndarray:
        """Bounds (<= n + 1,) of ranges of rows with about as many entries each."""
        indptr = self.indptr
        return np.unique(np.searchsorted(indptr, np.linspace(0, indptr[-1], n + 1)).clip(0, len(indptr) - 1))


def _sides(interactions: Interactions, value_of, run: Runner, folder: Path) -> tuple[_Side, _Side]:
    """Write values by user, then all of it again by item."""
    by_user, by_item = _Side(folder / "by_user"), _Side(folder / "by_item")

    def write(_: int) -> None:
        for side in (by_user, by_item):
            side.folder.mkdir(parents=True, exist_ok=True)
        np.save(by_user.folder / "indptr.npy", interactions.indptr)
        np.save(by_user.folder / "columns.npy", interactions.items)
        values = np.empty(len(interactions), np.float32)
        bounds = np.unique(
            np.append(
                np.searchsorted(interactions.indptr, np.arange(0, len(interactions), BLOCK)), interactions.n_users
            )
        )
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
            values[interactions.indptr[start] : interactions.indptr[stop]] = value_of(
                interactions.histories(start, stop)
            )
        np.save(by_user.folder / "values.npy", values)
        transposed = interactions.matrix(values).tocsc()
        for name, array in (
            ("indptr", transposed.indptr),
            ("columns", transposed.indices),
            ("values", transposed.data),
        ):
            np.save(by_item.folder / f"{name}.npy", array)

    run.each(1, write, label="sort by item")
    return by_user, by_item


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


def _solve(
    side: _Side, mine: str, others: str, equations: Equations, run: Runner, folder: Path, *, label: str
) -> float:
    """Half an iteration; returns the losses of the rows of this side."""
    bounds = side.ranges(RANGES_A_WORKER * run.n_workers).tolist()
    _save(folder / "gramian.npy", gramian(np.load(folder / f"{others}.npy", mmap_mode="r")))
    _save(folder / "losses.npy", np.zeros(len(bounds) - 1))

    def solve(number: int) -> None:
        start, stop = bounds[number], bounds[number + 1]
        indptr, columns, values = side.rows(start, stop)
        other = np.load(folder / f"{others}.npy", mmap_mode="r")
        if equations.alpha is None:
            half = half_explicit(indptr, columns, values, other, reg=equations.reg)
        else:
            gram = np.load(folder / "gramian.npy")
            half = half_implicit(indptr, columns, values, other, gram, alpha=equations.alpha, reg=equations.reg)
        _put(folder / f"{mine}.npy", slice(start, stop), half.factors)
        _put(folder / "losses.npy", slice(number, number + 1), half.losses.sum())

    run.each(len(bounds) - 1, solve, label=label)
    return float(np.load(folder / "losses.npy").sum())


def _put(path: Path, rows: slice, values: np.ndarray | float) -> None:
    """Write some rows of an array that lies in a file; other tasks write others."""
    target = np.lib.format.open_memmap(path, mode="r+")
    target[rows] = values
    target.flush()
