"""bench als: item factors from generated ratings, by fold-in alternated over Spark tasks, by Spark MLlib and by implicit.

All three get the same interactions; the first two on one Spark session, from its arrays on disk to item factors, so that
what each does to bring the data into its own form is part of its time. implicit fits in a process of its own, on a matrix
in memory. With the item factors of each, every user is solved once more, exactly, for the objective that is compared:
implicit's own does not scale lambda by the interactions of a row, so only its seconds are.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from jobs.bench.sample_arrays import interactions_of
from jobs.kernels.biases import item_biases
from jobs.kernels.factors import gramian
from jobs.kernels.training.alternate import half_explicit, half_implicit, held
from jobs.machine.progress import PeakMemory, processors
from jobs.models.als import errors_of
from jobs.models.base.als_engines import item_factors
from jobs.models.base.alternating import Equations
from jobs.models.base.contract import TrainingData
from jobs.spark.session import spark_session
from jobs.spark.task_pool import OnSpark
from jobs.staging.interactions import Interactions
from schemas.settings import Settings

USERS_AT_ONCE = 20_000
DAMPING, REG, REG_EXPLICIT = 5.0, 0.2, 0.15


def measure(settings: Settings, *, ratings: int, factors: int, iterations: int, alpha: int) -> dict[str, Any]:
    """Seconds of each, and the ratio of the objectives; alpha 0 fits explicit ratings, which implicit does not."""
    with tempfile.TemporaryDirectory(prefix="cinematch-bench-") as name:
        folder = Path(name)
        interactions = interactions_of(folder, ratings, settings.seed)
        reg = REG if alpha else REG_EXPLICIT
        equations = Equations(float(alpha) or None, reg, factors, iterations, settings.seed)
        value_of = _strengths if alpha else _errors(interactions)
        figures: dict[str, Any] = {
            "n_ratings": len(interactions),
            "n_users": interactions.n_users,
            "n_items": interactions.n_items,
            "n_factors": factors,
            "n_iterations": iterations,
            "is_implicit": bool(alpha),
            "n_processors": processors(),
        }
        objective = {}
        with spark_session(settings, scratch=folder / "spark") as spark:
            for engine in ("fold_in", "mllib"):
                data = _data(interactions, settings, engine, OnSpark(spark), folder / "scratch")
                with PeakMemory() as peak:
                    started = time.perf_counter()
                    fitted, _ = item_factors(data, value_of, equations)
                    figures[f"{engine}_s"] = round(time.perf_counter() - started, 2)
                figures[f"{engine}_peak_mib"] = round(peak.mib, 1)
                objective[engine] = objective_of(interactions, value_of, fitted, equations)
        if alpha:
            figures["implicit_s"] = round(_apart(_implicit, interactions, equations), 2)
            figures["fold_in_to_implicit_ratio"] = round(figures["implicit_s"] / figures["fold_in_s"], 3)
        solved = interactions.n_users + interactions.n_items
        flops = iterations * (2 * len(interactions) * factors * (factors + 1) + solved * factors**3 / 3)
        figures["fold_in_gflop_per_s"] = round(flops / figures["fold_in_s"] / 1e9, 1)
        figures["sgemm_gflop_per_s"] = round(_apart(_product_rate), 1)
        return figures | {
            "fold_in_to_mllib_ratio": round(figures["mllib_s"] / figures["fold_in_s"], 2),
            "objective_ratio": round(objective["fold_in"] / objective["mllib"], 5),
        }


def _data(interactions: Interactions, settings: Settings, engine: str, run: OnSpark, scratch: Path) -> TrainingData:
    """Return the rows as an engine takes them."""
    nothing = np.zeros(interactions.n_items)
    return TrainingData(
        interactions=interactions,
        items=None,
        n_ratings=nothing,
        rating_sum=nothing,
        genres=csr_matrix((interactions.n_items, 0)),
        rating_scale=None,
        settings=replace(settings, als_engine=engine),
        run=run,
        scratch=scratch,
        sides=scratch,
    )


def _strengths(histories) -> np.ndarray:
    return histories.strengths


def _errors(interactions: Interactions):
    """Return each rating less the mean and the damped biases of its item and its user."""
    counts = np.bincount(interactions.items, minlength=interactions.n_items)
    sums = np.bincount(interactions.items, interactions.ratings, interactions.n_items)
    mu, biases = item_biases(sums, counts, DAMPING)
    return lambda histories: errors_of(histories, mu, biases, DAMPING)


def objective_of(interactions: Interactions, value_of, factors: np.ndarray, equations: Equations) -> float:
    """The least that any users can make of the objective with these item factors."""
    counts, gram = np.bincount(interactions.items, minlength=len(factors)), gramian(factors)
    total = held(counts, factors, equations.reg)
    for start in range(0, interactions.n_users, USERS_AT_ONCE):
        block = interactions.histories(start, min(start + USERS_AT_ONCE, interactions.n_users))
        values = value_of(block)
        if equations.alpha is None:
            half = half_explicit(block.indptr, block.items, values, factors, reg=equations.reg)
        else:
            half = half_implicit(block.indptr, block.items, values, factors, gram, alpha=equations.alpha, reg=equations.reg)
        total += float(half.losses.sum())
    return total


def _apart(work, *given) -> float:
    """In a process of its own, whose BLAS does not start threads of its own beside the ones that are wanted."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def _implicit(interactions: Interactions, equations: Equations) -> float:
    from implicit.cpu.als import AlternatingLeastSquares

    values = interactions.matrix(np.asarray(interactions.strengths, np.float32))
    model = AlternatingLeastSquares(
        factors=equations.n_factors,
        regularization=equations.reg,
        alpha=equations.alpha,
        iterations=equations.n_iterations,
        random_state=equations.seed,
        num_threads=processors(),
    )
    started = time.perf_counter()
    model.fit(values, show_progress=False)
    return time.perf_counter() - started


def _product_rate(n: int = 2048) -> float:
    """Gflop a second of a float32 matrix product on every processor: the arithmetic's limit here."""
    A = np.ones((n, n), np.float32)
    A @ A
    started = time.perf_counter()
    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(lambda _: A @ A, range(2 * processors())))
    return 2 * processors() * 2 * n**3 / (time.perf_counter() - started) / 1e9
