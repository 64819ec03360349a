"""Relevance: which held-out rows count as a hit when a list is measured.

Every row that a user went on to rate is relevant (`all`), or only those that the user liked (`liked`): rated at or above the user's
own mean. The mean is damped towards the overall mean, because a mean of three ratings says little:

    mean_u = (sum of the user's ratings + damping * mu) / (number of the user's ratings + damping)

It is taken over the history that a list is made from, never over the rows that are held out. A row without a rating is an
event, a purchase for instance, and always relevant.

A miniature: mu 3, damping 1. A user rated 5 and 4, so the mean is (9 + 3) / 3 = 4. Of held-out ratings 3, 4 and 5 the last two are
liked.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels import spans
from jobs.kernels.histories import Histories

MOST_STARS = 11  # 0 to 10


def damped_means(histories: Histories, mu: float, damping: float) -> np.ndarray:
    """Compute the damped mean rating of each user.

    Parameters
    ----------
    histories : Histories
        u users; rows whose rating is NaN do not count.
    mu : float
        The overall mean rating, on the rating scale.
    damping : float
        How many ratings of mu are added to those of the user.

    Returns
    -------
    (u,) float64, on the rating scale; mu for a user without ratings.
    """
    is_rated = ~np.isnan(histories.ratings)
    owners = spans.owners(histories.indptr)[is_rated]
    sums = np.bincount(owners, histories.ratings[is_rated], len(histories))
    counts = np.bincount(owners, minlength=len(histories))
    weight = counts + damping
    return np.divide(sums + damping * mu, weight, out=np.full(len(histories), float(mu)), where=weight > 0)


def is_liked(held_out: Histories, means: np.ndarray) -> np.ndarray:
    """Tell which rows of users are rated at or above their own mean.

    Parameters
    ----------
    held_out : Histories
        Rows (m,) of u users.
    means : (u,) float64
        The users' damped means, of `damped_means`.

    Returns
    -------
    (m,) bool; True for a row without a rating.
    """
    least = np.repeat(means, np.diff(held_out.indptr))
    return np.isnan(held_out.ratings) | (held_out.ratings >= least)


def share_below(values: np.ndarray, owners: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Compute for each user which share of values lies below their own mean.

    Parameters
    ----------
    values : (m,) float64
        Ratings, given or predicted; NaN is not counted.
    owners : (m,) int64
        The user of each value.
    means : (u,) float64
        The users' damped means, of `damped_means`.

    Returns
    -------
    (u,) float64 in 0..1; NaN for a user without values.
    """
    is_counted = ~np.isnan(values)
    owners, values = owners[is_counted], values[is_counted]
    n = np.bincount(owners, minlength=len(means))
    below = np.bincount(owners, values < means[owners], len(means))
    return np.divide(below, n, out=np.full(len(means), np.nan), where=n > 0)


def stars(low: float, high: float) -> np.ndarray:
    """Cut a rating scale into whole stars, wider ones where there would be more than MOST_STARS.

    Parameters
    ----------
    low, high : float
        The bounds of the scale.

    Returns
    -------
    (b,) float64, ascending: the least rating of each star. A scale of 0.5 to 5 has 0, 1, 2, 3, 4, 5, and 3.5 belongs to 3.
    """
    width = max(1.0, np.ceil((high - low) / (MOST_STARS - 1)))
    return np.arange(np.floor(low), high + 1e-9, width)


def counts_by_star(ratings: np.ndarray, owners: np.ndarray, n_users: int, least: np.ndarray) -> np.ndarray:
    """Count the ratings of each user by star.

    Parameters
    ----------
    ratings : (m,) float64
        On the scale that `least` was made for; NaN is not counted.
    owners : (m,) int64
        The user of each rating.
    n_users : int
        u.
    least : (b,) float64
        Of `stars`.

    Returns
    -------
    (u, b) int64.
    """
    is_counted = ~np.isnan(ratings)
    star = np.searchsorted(least, ratings[is_counted], "right") - 1
    cells = owners[is_counted] * len(least) + star
    return np.bincount(cells, minlength=n_users * len(least)).reshape(n_users, len(least))
