"""The last word on a list: a little of its scores given up for variety, and for the user's own mix of genres.

Of the POOL best of the model the list is built place by place. With r_i the score of i, 0 for the last of the pool and 1 for
the first, S what stands already, p the genre shares of the history and q those of the list, the next item has the largest

    (1 - d - c) r_i  -  d max_{j in S} cos(i, j)  -  c KL(p, (1 - a) q(S + i) + a p) / -ln a

d: diversity, by maximal marginal relevance over the content vectors (Carbonell and Goldstein 1998). c: calibration (Steck
2018), with a = 0.01, and the divergence divided by the most that it can be. Ties go to the item that the model places first.
What comes after the pool keeps the model's order; so a list is the head of every longer list.

A miniature: the scores 1.0, 0.9, 0 of items A, B, C, where A and B are twins and C is like neither. With d = 0.5 A comes first
(0.5), then C (0 - 0 against 0.45 - 0.5), then B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import rel_entr

POOL = 100
ALPHA = 0.01  # of the history in what a list has, so that a genre that it lacks costs no infinity
MOST_DIVERGENCE = -math.log(ALPHA)


@dataclass(frozen=True)
class Reranking:
    """The weights of diversity and calibration, 0 to 1 and together 1 at most, and the content vectors: rows (n_items, f) of unit length."""

    diversity: float
    calibration: float
    features: csr_matrix | None = None


def rerank(
    reranking: Reranking, genres: csr_matrix, history: np.ndarray, strengths: np.ndarray, items: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Choose the order in which to show items that are ranked by scores.

    Parameters
    ----------
    genres : (n_items, g), 1 for each genre of an item
    history : (h,) item_num
    strengths : (h,)
    items : (m,) item_num, best first
    scores : (m,) descending

    Returns
    -------
    (m,) places among the items, from 0
    """
    m = min(len(items), POOL)
    span = scores[0] - scores[m - 1] if m else 0.0
    worth = (1.0 - reranking.diversity - reranking.calibration) * ((scores[:m] - scores[m - 1]) / span if span > 0 else np.ones(m))
    alike = _cosines(reranking, items[:m])
    shares, wanted = _genre_shares(genres, items[:m]), strengths @ _genre_shares(genres, history)
    total = wanted.sum()
    is_calibrated = reranking.calibration > 0 and total > 0
    p = wanted / total if total > 0 else wanted
    nearest, listed = np.zeros(m), np.zeros(len(wanted))
    is_left, places = np.ones(m, bool), np.empty(m, np.int64)
    for place in range(m):
        value = worth - reranking.diversity * nearest
        if is_calibrated:
            value = value - reranking.calibration * _divergence(p, listed + shares)
        value[~is_left] = -np.inf
        best = int(value.argmax())
        places[place], is_left[best] = best, False
        if alike is not None:
            nearest = np.maximum(nearest, alike[best])
        listed += shares[best]
    return np.concatenate([places, np.arange(m, len(items))])


def _cosines(reranking: Reranking, items: np.ndarray) -> np.ndarray | None:
    if reranking.diversity == 0 or reranking.features is None:
        return None
    rows = reranking.features[items]
    return np.asarray((rows @ rows.T).todense(), float)


def _genre_shares(genres: csr_matrix, items: np.ndarray) -> np.ndarray:
    """Genres of items (k,) as shares that sum to 1 for each, (k, g); zeros where an item has none."""
    rows = genres[items].toarray().astype(float)
    return rows / np.maximum(rows.sum(axis=1, keepdims=True), 1.0)


def _divergence(p: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """KL of p (g,) from each row of sums of genre shares (m, g), (m,) in 0..1: 1 where a list has none of p's genres."""
    q = listed / np.maximum(listed.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return genre_divergence(p, q) / MOST_DIVERGENCE


def genre_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return KL(p, (1 - ALPHA) q + ALPHA p) of genre shares p (g,) or (m, g) and q (m, g), (m,) in nats, at most MOST_DIVERGENCE (Steck 2018)."""
    return rel_entr(p, (1.0 - ALPHA) * q + ALPHA * p).sum(axis=1)
