"""Weights of a history's own items where they may come again: the share of an item's users who came back to it."""

from __future__ import annotations

import numpy as np

DAMPING = 10.0  # users of the mean that an item's share is damped with


def own_weights(items: np.ndarray, counts: np.ndarray, n_items: int, *, damping: float = DAMPING) -> np.ndarray:
    """Return the share of an item's users who had it more than once, damped towards that of all pairs; 0 for an item that nobody has.

        w_i = (r_i + d r / n) / (n_i + d)        n_i users, r_i of them again; n and r of all items

    Parameters
    ----------
    items : (m,) item_num of each pair of user and item
    counts : (m,) how often the user had it

    Returns
    -------
    (n_items,) float64
    """
    n = np.bincount(items, minlength=n_items)
    again = np.bincount(items, counts > 1, n_items)
    share = again.sum() / max(n.sum(), 1)
    return np.where(n > 0, (again + damping * share) / (n + damping), 0.0)
