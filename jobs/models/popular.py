"""popular: how much an item is liked by everybody, from a damped mean and a count."""

from __future__ import annotations

import numpy as np

from jobs.kernels.biases import damped
from jobs.kernels.histories import Histories
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData


def fit(data: TrainingData) -> ModelArrays:
    """score = n * (damped mean - low) / (high - low): the interactions, each worth its place on the scale; n without ratings."""
    n = data.n_ratings.astype(float)
    if data.rating_scale is None:
        arrays = {"scores": n, "damped_means": np.full(len(n), np.nan), "n_ratings": data.n_ratings}
        return ModelArrays(arrays, {}, unknown=("damped_means",))
    low, high = data.rating_scale
    damping = data.settings.bias_damping
    mu = data.mean_rating
    means = damped(data.rating_sum + damping * mu, n, damping)
    scores = n * (means - low) / (high - low)
    return ModelArrays({"scores": scores, "damped_means": means, "n_ratings": data.n_ratings}, {"mu": mu, "damping": damping})


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    scores = np.where(data.n_ratings > 0, side.arrays["scores"], -np.inf).astype(np.float32)

    def same_scores(histories: Histories) -> np.ndarray:
        return np.tile(scores, (len(histories), 1))

    return same_scores
