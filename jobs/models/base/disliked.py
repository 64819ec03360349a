"""Items that users would rate below their own mean, as a rater predicts: what a list should have few of."""

from __future__ import annotations

import numpy as np

from jobs.kernels.biases import item_biases
from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.histories import Histories


class Disliked:
    """Users u by their histories, folded in once, and their means (u,)."""

    def __init__(self, rater: ExplicitFactors, kept: Histories, means: np.ndarray) -> None:
        posteriors = [rater.posterior(*kept.user(k).rated) for k in range(len(kept))]
        self._rater, self._means = rater, means
        self._users = np.array([posterior.x for posterior in posteriors], np.float32).reshape(len(kept), -1)
        self._constants = np.array([posterior.constant for posterior in posteriors])

    def among(self, items: np.ndarray, users: slice) -> np.ndarray:
        """Tell which of items (v, w) item_num of these v users they would rate below their mean, (v, w); none where an item is -1."""
        rater, at = self._rater, np.maximum(items, 0)
        predicted = self._constants[users, None] + rater.item_biases[at]
        for k, row in enumerate(at):
            predicted[k] += rater.item_factors[row] @ self._users[users][k]
        return (np.clip(predicted, rater.low, rater.high) < self._means[users, None]) & (items >= 0)

    def shares(self, lists: np.ndarray, users: slice) -> np.ndarray:
        """Share of the rows of lists (v, k) that are such, (v,); 0 for an empty list."""
        return self.among(lists, users).sum(axis=1) / np.maximum((lists >= 0).sum(axis=1), 1)


def by_biases(n_ratings: np.ndarray, rating_sum: np.ndarray, scale: tuple[float, float], damping: float) -> ExplicitFactors:
    """Return a rater by the items' damped means alone, so that it waits for no other model."""
    mu, biases = item_biases(rating_sum, n_ratings, damping)
    return ExplicitFactors(np.zeros((len(biases), 1), np.float32), biases, mu, damping, *scale, 1.0)
