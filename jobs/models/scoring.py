"""History in, scores out, for a block of users at once and every item: to compare models by, and to choose hyper-parameters.

Lists that are served come from jobs.kernels.lists, which scores candidates alone and exactly; what ranks them is the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from jobs.kernels.factors import ExplicitFactors, ImplicitFactors, Posterior
from jobs.kernels.histories import Histories
from jobs.kernels.weights import ItemWeights
from jobs.models.contract import Scorer


class Rater(Protocol):
    """An item side that predicts ratings: als and svd."""

    item_factors: np.ndarray
    item_biases: np.ndarray
    low: float
    high: float

    def posterior(self, items: np.ndarray, ratings: np.ndarray) -> Posterior: ...

    def predict(self, posterior: Posterior, targets: np.ndarray) -> np.ndarray: ...


def by_weights(matrix: ItemWeights, half_life: float) -> Scorer:
    """An item-by-item model. Items that no row reaches are unknown to it."""
    W = matrix.rows(0, matrix.n_items)
    unknown = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.n_items) == 0)

    def scores(histories: Histories) -> np.ndarray:
        found = np.asarray((histories.weighted(matrix.n_items, half_life) @ W).todense(), np.float32)
        found[:, unknown] = -np.inf
        return found

    return scores


def by_factors(factors: ImplicitFactors | ExplicitFactors, half_life: float) -> Scorer:
    """A factor model as a part of a blend: users are folded in one by one. Somebody without a history has the items' biases."""
    ranker = replace(factors, half_life=half_life)
    Y = np.asarray(factors.item_factors, np.float32)
    biases = ranker.biases(np.arange(len(Y))).astype(np.float32)

    def scores(histories: Histories) -> np.ndarray:
        users = np.zeros((len(histories), Y.shape[1]), np.float32)
        for k in np.flatnonzero(np.diff(histories.indptr)):
            users[k] = ranker.fold_in(histories.user(k)).posterior.x
        found = users @ Y.T + biases
        found[:, ranker.untrained] = -np.inf
        return found

    return scores


def by_rating(rater: Rater, n_ratings: np.ndarray) -> Scorer:
    """By the rating that is predicted, before it is put inside the scale, where many would tie."""
    unknown = np.flatnonzero(n_ratings == 0)
    Y = np.asarray(rater.item_factors, np.float32)

    def scores(histories: Histories) -> np.ndarray:
        users = np.zeros((len(histories), Y.shape[1]), np.float32)
        for k in range(len(histories)):
            users[k] = rater.posterior(*histories.user(k).rated).x
        found = users @ Y.T + rater.item_biases.astype(np.float32)
        found[:, unknown] = -np.inf
        return found

    return scores


def predicted(rater: Rater, kept: Histories, indptr: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Predict the ratings of items, (m,) inside the scale, by the users' histories. User k is asked for the rows indptr[k]:indptr[k + 1];
    an item that the rater does not know, -1, is predicted as what the user rates on average."""
    found = np.full(len(items), np.nan)
    for k in range(len(kept)):
        rows, posterior = slice(indptr[k], indptr[k + 1]), rater.posterior(*kept.user(k).rated)
        targets = items[rows]
        ratings = np.full(len(targets), np.clip(posterior.constant, rater.low, rater.high))
        ratings[targets >= 0] = rater.predict(posterior, targets[targets >= 0])
        found[rows] = ratings
    return found
