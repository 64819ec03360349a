"""Certainty of a mean over users: percentile bootstrap, and whether one model is no worse than another on the same users.

Users are drawn with replacement, as many as there are, again and again; the middle 95 % of the means of the draws is the
interval (Efron and Tibshirani 1993, chapter 13). Two models are compared by the differences of the same users, which
removes how hard each user is. The challenger is non-inferior where the whole interval of challenger - champion lies above
-margin (Piaggio et al. 2012, CONSORT): what a worse model could still do to the figure is less than the margin.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DRAWS_AT_ONCE = 1 << 20  # drawn users held at a time: some 20 MiB


class Interval(NamedTuple):
    """A mean over n users, and the bounds of its interval; NaN if nobody was counted."""

    mean: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """Challenger less champion over n users both have a value for, the bounds of its interval, and what follows."""

    difference: float
    low: float
    high: float
    n: int
    is_non_inferior: bool
    is_better: bool


def mean_interval(
    values: np.ndarray, *, seed: int, weights: np.ndarray | None = None, n_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Average per-user values, with an interval by resampling users.

    With weights, each draw is sum w v / sum w. If the values are the users' mean squared errors and the weights their numbers of
    ratings, the root of the mean is the RMSE, and the roots of the bounds are its bounds.

    Parameters
    ----------
    values : (u,) float64, one a user; users with NaN are not counted
    seed : of the draws
    weights : (u,) or None; users with weight 0 are not counted
    """
    is_counted = ~np.isnan(values) if weights is None else ~np.isnan(values) & (weights > 0)
    counted = values[is_counted].astype(float)
    n = len(counted)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    weight = None if weights is None else weights[is_counted].astype(float)
    origin = counted[0]  # sums of what differs from it: equal values then have an interval of exactly that value
    means = _resampled_means(counted - origin, weight, n_resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = np.average(counted - origin, weights=weight)
    return Interval(float(origin + mean), float(origin + low), float(origin + high), n)


def paired_difference(
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    seed: int,
    margin: float,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Comparison:
    """Compare two models by per-user values (u,) of the same users in the same order, of a metric where more is better.

    margin >= 0 is the loss of the mean that would be accepted. A user with NaN in either is not counted; where nobody is
    left, nothing was shown, and the challenger is not non-inferior.
    """
    if challenger.shape != champion.shape:
        raise ValueError(f"values of the same users are needed: got {len(challenger)} of the challenger, {len(champion)} of the champion")
    mean, low, high, n = mean_interval(challenger - champion, seed=seed, n_resamples=n_resamples, level=level)
    return Comparison(mean, low, high, n, is_non_inferior=low > -margin, is_better=low > 0)


def _resampled_means(values: np.ndarray, weights: np.ndarray | None, n_resamples: int, draw: np.random.Generator) -> np.ndarray:
    n = len(values)
    means = np.empty(n_resamples)
    weighted = values if weights is None else values * weights
    at_once = max(1, DRAWS_AT_ONCE // n)
    for start in range(0, n_resamples, at_once):
        drawn = draw.integers(0, n, (min(at_once, n_resamples - start), n), np.int32)
        totals = n if weights is None else weights[drawn].sum(axis=1)
        means[start : start + len(drawn)] = weighted[drawn].sum(axis=1) / totals
    return means
