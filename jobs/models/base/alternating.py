"""ALS by fold-in, alternated: all users against the item factors, then all items against the user factors.

Both sides lie as memory-mapped arrays on storage that every task shares; a task solves one range of rows, of about as many
interactions as any other, and writes its factors to a file of their own, which are then joined: so a task that was lost
runs again, and nothing that it left is read. The user side is scaffolding and is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.kernels.factors import gramian
from jobs.kernels.histories import Histories
from jobs.kernels.training.alternate import half_explicit, half_implicit, held, initial_factors
from jobs.machine.progress import Progress
from jobs.spark.task_pool import ranges, RANGES_A_WORKER, Runner
from jobs.staging.interactions import Interactions
from warehouse.atomic import join_arrays, save_array

BLOCK = 1 << 20


@dataclass(frozen=True)
class Equations:
    """The equations to solve: implicit with alpha, or explicit if alpha is None; reg, factors, iterations and the seed to start from."""

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
        by_user, by_item = sides(interactions, value_of, run, folder)
        counts = np.diff(by_item.indptr)
        save_array(folder / "items.npy", initial_factors(counts, equations.n_factors, seed=equations.seed))
        loss = 0.0
        with Progress("als", total=2 * equations.n_iterations, unit="half iterations") as progress:
            for number in range(1, equations.n_iterations + 1):
                label = f"als {number}/{equations.n_iterations}"
                _solve(by_user, "users", "items", equations, run, folder, label=f"{label} users")
                progress.add(1)
                loss = _solve(by_item, "items", "users", equations, run, folder, label=f"{label} items")
                progress.add(1)
        users = np.load(folder / "users.npy", mmap_mode="r")
        return np.load(folder / "items.npy"), loss + held(np.diff(by_user.indptr), users, equations.reg)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Side:
    """One side's rows, their columns in the other side and their values, as files."""

    folder: Path

    @property
    def indptr(self) -> np.ndarray:
        return np.load(self.folder / "indptr.npy", mmap_mode="r")

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        indptr = np.asarray(self.indptr[start : stop + 1])
        span = slice(int(indptr[0]), int(indptr[-1]))
        arrays = (np.load(self.folder / f"{name}.npy", mmap_mode="r")[span] for name in ("columns", "values"))
        columns, values = map(np.asarray, arrays)  # a memmap takes longer to slice
        return indptr - indptr[0], columns, values


def sides(interactions: Interactions, value_of, run: Runner, folder: Path) -> tuple[Side, Side]:
    """Write values by user, then all of it again by item."""
    by_user, by_item = Side(folder / "by_user"), Side(folder / "by_item")

    def write(_: int) -> None:
        save_array(by_user.folder / "indptr.npy", interactions.indptr)
        save_array(by_user.folder / "columns.npy", interactions.items)
        values = np.empty(len(interactions), np.float32)
        bounds = np.unique(np.append(np.searchsorted(interactions.indptr, np.arange(0, len(interactions), BLOCK)), interactions.n_users))
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
            values[interactions.indptr[start] : interactions.indptr[stop]] = value_of(interactions.histories(start, stop))
        save_array(by_user.folder / "values.npy", values)
        transposed = interactions.matrix(values).tocsc()
        for name, array in (
            ("indptr", transposed.indptr),
            ("columns", transposed.indices),
            ("values", transposed.data),
        ):
            save_array(by_item.folder / f"{name}.npy", array)

    run.each(1, write, label="sorting by item")
    return by_user, by_item


def _solve(side: Side, mine: str, others: str, equations: Equations, run: Runner, folder: Path, *, label: str) -> float:
    """Half an iteration; returns the losses of the rows of this side."""
    bounds = ranges(side.indptr, RANGES_A_WORKER * run.n_workers)
    save_array(folder / "gramian.npy", gramian(np.load(folder / f"{others}.npy", mmap_mode="r")))
    parts = folder / label.replace("/", " of ")

    def solve(number: int) -> None:
        start, stop = bounds[number], bounds[number + 1]
        indptr, columns, values = side.rows(start, stop)
        other = np.load(folder / f"{others}.npy", mmap_mode="r")
        if equations.alpha is None:
            half = half_explicit(indptr, columns, values, other, reg=equations.reg)
        else:
            gram = np.load(folder / "gramian.npy")
            half = half_implicit(indptr, columns, values, other, gram, alpha=equations.alpha, reg=equations.reg)
        save_array(parts / f"factors-{number}.npy", half.factors)
        save_array(parts / f"loss-{number}.npy", half.losses.sum())

    n = len(bounds) - 1
    run.each(n, solve, label=label)
    join_arrays([parts / f"factors-{number}.npy" for number in range(n)], folder / f"{mine}.npy")
    loss = sum(np.load(parts / f"loss-{number}.npy").item() for number in range(n))
    shutil.rmtree(parts)
    return loss
