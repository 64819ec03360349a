"""Variational Bayes of ratings over tasks: all users against the items, then all items against the users, and what both are scattered by.

As in `alternating`, a task solves one range of rows against the other side, which lies as memory-mapped arrays. What is learned of all rows
together is summed over whole arrays, so that it does not depend on how many tasks there were.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jobs.kernels.biases import LEAST
from jobs.kernels.training.alternate import initial_factors
from jobs.kernels.training.variational import half, Moments
from jobs.machine.progress import Progress
from jobs.models.base.alternating import Side, sides
from jobs.models.base.contract import TrainingData
from jobs.spark.task_pool import InProcess, ONE_TASK, ranges, RANGES_A_WORKER, Runner
from jobs.staging.interactions import Interactions
from warehouse.atomic import join_arrays, save_array

FIRST_NOISE = 0.5  # of the ratings' variance, before anything is learned
FIRST_SHARE = 0.025  # of it, what a factor is taken to explain
FIXED = 2  # iterations before the priors are learned
BLOCK = 1 << 16


@dataclass(frozen=True)
class Averaged:
    """n_blocks models of `width` factors each: iterations, the damping of biases, and the seed to start from."""

    n_blocks: int
    width: int
    n_iterations: int
    damping: float
    seed: int


class ItemMoments(NamedTuple):
    """The arrays that a fit leaves: factors (n_items, f) and biases (n_items,) of the items, variances of their factors, and the ridge of a user's, (f,)."""

    item_factors: np.ndarray
    item_biases: np.ndarray
    item_variances: np.ndarray
    ridge: np.ndarray


def item_moments(data: TrainingData, mu: float, biases: np.ndarray, model: Averaged) -> ItemMoments:
    """Fit to the ratings less mu, from biases (n_items,) of the items; few rows in one task."""
    interactions, folder = data.interactions, data.scratch  # a task cannot take along the session that `data` holds
    if len(interactions) > ONE_TASK:
        return fitted(interactions, mu, biases, model, data.run, folder / "als")

    def whole(_: int) -> None:
        found = fitted(interactions, mu, biases, model, InProcess(), folder / "als")
        for name, array in found._asdict().items():
            save_array(folder / "moments" / f"{name}.npy", array)

    data.run.each(1, whole, label="als: users and items in turn")
    return ItemMoments(*(np.load(folder / "moments" / f"{name}.npy") for name in ItemMoments._fields))


def fitted(interactions: Interactions, mu: float, biases: np.ndarray, model: Averaged, run: Runner, folder: Path) -> ItemMoments:
    """Fit to the ratings less mu, from biases (n_items,) of the items. Works in `folder`, and leaves nothing there."""
    f = model.n_blocks * model.width
    try:
        by_user, by_item = sides(interactions, lambda histories: histories.ratings - mu, run, folder)
        counts = np.diff(by_item.indptr)
        variance = max(_mean_square(by_user.folder / "values.npy"), LEAST)
        noise, scatter = np.full(model.n_blocks, FIRST_NOISE * variance), math.sqrt(FIRST_SHARE * variance)
        of_users, of_items = np.full(f, scatter), np.full(f, scatter)
        start = initial_factors(counts, f, seed=model.seed) * np.float32(math.sqrt(scatter * f))
        _save(folder / "items", Moments(start, np.zeros_like(start), np.zeros_like(start), biases))
        with Progress("als", total=2 * model.n_iterations, unit="half iterations") as progress:
            for number in range(1, model.n_iterations + 1):
                label = f"als {number}/{model.n_iterations}"
                wide = np.repeat(noise, model.width)
                _solve(by_user, "users", "items", wide / of_users, noise, model.damping, run, folder, label=f"{label} users")
                if number > FIXED:
                    of_users = _scatter(folder / "users", by_user)
                progress.add(1)
                errors = _solve(by_item, "items", "users", wide / of_items, noise, model.damping, run, folder, label=f"{label} items")
                if number > FIXED:
                    of_items = _scatter(folder / "items", by_item)
                noise = np.maximum(errors / len(interactions), LEAST)
                progress.add(1)
        items = Moments(*map(np.array, _load(folder / "items")))
        return ItemMoments(items.factors, items.biases, items.variances, np.repeat(noise, model.width) / of_users)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save(folder: Path, moments: Moments) -> None:
    for name, array in moments._asdict().items():
        save_array(folder / f"{name}.npy", array)


def _load(folder: Path) -> Moments:
    return Moments(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Moments._fields))


def _mean_square(path: Path) -> float:
    values = np.load(path, mmap_mode="r")
    return sum(float(np.square(values[at : at + BLOCK], dtype=np.float64).sum()) for at in range(0, len(values), BLOCK)) / max(
        len(values), 1
    )


def _scatter(folder: Path, side: Side) -> np.ndarray:
    """Return the mean of x^2 + variance over the rows with entries, (f,): what the prior's variance is learned to be."""
    moments = _load(folder)
    total = np.zeros(moments.factors.shape[1])
    for at in range(0, len(moments.factors), BLOCK):
        x, variances = (array[at : at + BLOCK].astype(np.float64) for array in (moments.factors, moments.variances))
        total += (x * x + variances).sum(axis=0)
    return total / np.count_nonzero(np.diff(side.indptr))


def _solve(
    side: Side,
    mine: str,
    others: str,
    ridge: np.ndarray,
    noise: np.ndarray,
    damping: float,
    run: Runner,
    folder: Path,
    *,
    label: str,
) -> np.ndarray:
    """Half an iteration; returns the sum of the squared errors that are expected, (n_blocks,)."""
    bounds = ranges(side.indptr, RANGES_A_WORKER * run.n_workers)
    parts = folder / label.replace("/", " of ")

    def solve(number: int) -> None:
        other = _load(folder / others)._replace(biases=np.load(folder / others / "biases.npy"))
        solved = half(*side.rows(bounds[number], bounds[number + 1]), other, ridge=ridge, noise=noise, damping=damping)
        _save(parts / str(number), solved.moments)
        save_array(parts / str(number) / "errors.npy", solved.errors)

    n = len(bounds) - 1
    run.each(n, solve, label=label)
    for name in Moments._fields:
        join_arrays([parts / str(number) / f"{name}.npy" for number in range(n)], folder / mine / f"{name}.npy")
    errors = np.concatenate([np.load(parts / str(number) / "errors.npy") for number in range(n)]).sum(axis=0)
    shutil.rmtree(parts)
    return errors
