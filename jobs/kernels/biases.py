"""Biases of items and users, and what they leave of ratings: the part of a rating that no factor has to explain.

    b_i = sum over the item's ratings of (r - mu) / (damping + n_i)
    b_u = sum over the user's ratings of (r - mu - b_i) / (damping + n_u)
    e = r - mu - b_u - b_i

Damping draws a bias towards 0, because a mean of three ratings says little (Funk 2006; Koren 2010, "Factor in the neighbors").

A miniature: mu 3, damping 1, and items without biases. A user who rated 5 and 4 has b_u = (2 + 1) / (1 + 2) = 1, which leaves
1 and 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.kernels.spans import owners

LEAST = 1e-9  # ratings to divide by, where there are none and no damping


class Centred(NamedTuple):
    """Ratings less the overall mean and both biases, errors (m,), and the users' biases (u,)."""

    errors: np.ndarray
    user_biases: np.ndarray


def damped(sums: np.ndarray, counts: np.ndarray, damping: float) -> np.ndarray:
    """Return sums / (counts + damping), the means of `counts` values and of `damping` zeros; 0 if both are 0."""
    return sums / np.maximum(counts + damping, LEAST)


def item_biases(rating_sums: np.ndarray, counts: np.ndarray, damping: float) -> tuple[float, np.ndarray]:
    """Compute the mean rating and each item's bias.

    Parameters
    ----------
    rating_sums, counts : (n_items,)
        The sum and the number of each item's ratings.
    damping : float
        Ratings of the overall mean that are added to those of an item.

    Returns
    -------
    float, (n_items,) float64
        The mean rating, 0 without ratings; and the biases, 0 for an item without ratings.
    """
    mu = float(rating_sums.sum() / max(counts.sum(), 1))
    return mu, damped(rating_sums - mu * counts, counts, damping)


def centred(indptr: np.ndarray, items: np.ndarray, ratings: np.ndarray, mu: float, item_biases: np.ndarray, damping: float) -> Centred:
    """Take the overall mean and the biases from ratings.

    Parameters
    ----------
    indptr : (u + 1,) int
        Where each user's rows begin and end.
    items : (m,) int
        Item of each row.
    ratings : (m,) float
        Rating of each row, on the scale.
    mu : float
        The overall mean rating.
    item_biases : (n_items,) float64
        The items' biases.
    damping : float
        Zeros that a user's bias is the mean of, beside what mu and the items leave.

    Returns
    -------
    Centred
        float64.
    """
    over_items = ratings - mu - item_biases[items]
    lengths, owner_of = np.diff(indptr), owners(indptr)
    user_biases = damped(np.bincount(owner_of, over_items, len(lengths)), lengths, damping)
    return Centred(over_items - user_biases[owner_of], user_biases)
