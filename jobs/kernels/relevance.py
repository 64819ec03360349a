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

from jobs.kernels.histories import Histories


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
    owners = np.repeat(np.arange(len(histories)), np.diff(histories.indptr))[is_rated]
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
