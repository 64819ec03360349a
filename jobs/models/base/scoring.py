"""Histories in, scores of every item out, for a block of users at once: to choose hyper-parameters by.

A model that can be served is scored by the Part that orders its lists, so what is chosen is chosen by what is served.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from jobs.kernels.factors import Posterior
from jobs.kernels.histories import Histories
from jobs.kernels.rankers import Part
from jobs.models.base.contract import Scorer


class Rater(Protocol):
    """An item side that predicts ratings: als and svd."""

    item_factors: np.ndarray
    item_biases: np.ndarray
    low: float
    high: float

    def posterior(self, items: np.ndarray, ratings: np.ndarray) -> Posterior: ...

    def predict(self, posterior: Posterior, targets: np.ndarray) -> np.ndarray: ...


def by_part(part: Part) -> Scorer:
    """Score as a part of a list's order does; an item that the part knows nothing about has no score."""

    def scores(histories: Histories) -> np.ndarray:
        of_items = part.all_scores(histories)
        of_items[:, part.untrained] = -np.inf
        return of_items

    return scores


def by_rating(rater: Rater, n_ratings: np.ndarray) -> Scorer:
    """By the rating that is predicted, before it is put inside the scale, where many would tie."""
    unknown = np.flatnonzero(n_ratings == 0)
    Y = np.asarray(rater.item_factors, np.float32)

    def scores(histories: Histories) -> np.ndarray:
        users = np.zeros((len(histories), Y.shape[1]), np.float32)
        for k in range(len(histories)):
            users[k] = rater.posterior(*histories.user(k).rated).x
        of_items = users @ Y.T + rater.item_biases.astype(np.float32)
        of_items[:, unknown] = -np.inf
        return of_items

    return scores


def predicted(rater: Rater, kept: Histories, indptr: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Predict the ratings of items, (m,) inside the scale, by the users' histories. User k is asked for the rows indptr[k]:indptr[k + 1];
    an item that the rater does not know, -1, is predicted as what the user rates on average."""
    predictions = np.full(len(items), np.nan)
    for k in range(len(kept)):
        rows, posterior = slice(indptr[k], indptr[k + 1]), rater.posterior(*kept.user(k).rated)
        targets = items[rows]
        ratings = np.full(len(targets), np.clip(posterior.constant, rater.low, rater.high))
        ratings[targets >= 0] = rater.predict(posterior, targets[targets >= 0])
        predictions[rows] = ratings
    return predictions
