"""Slow, readable twins of the kernels: the definitions written out, one user and one item at a time, in float64."""

from __future__ import annotations

import math

import numpy as np


def implicit_user(
    Y: np.ndarray, items: list[int], strengths: list[float], alpha: float, reg: float, recency: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A and x of one user, by a dense solve of the normal equations over all items."""
    Y = Y.astype(np.float64)
    n_items, f = Y.shape
    confidence, wanted = np.ones(n_items), np.zeros(n_items)
    for item, strength, left in zip(items, strengths, recency or [1.0] * len(items)):
        confidence[item], wanted[item] = 1 + left * alpha * strength, left * (1 + alpha * strength)
    A = Y.T @ np.diag(confidence) @ Y + reg * len(items) * np.eye(f)
    return A, np.linalg.solve(A, Y.T @ wanted)


def recency(moments: list[int], half_life: float) -> list[float]:
    """Halve the weight of each row once for every half_life moments that came later."""
    return [0.5 ** ((max(moments) - step) / half_life) for step in moments]


def explicit_user(
    Y: np.ndarray,
    biases: np.ndarray,
    items: list[int],
    ratings: list[float],
    mu: float,
    reg: float,
    damping: float,
    recency: list[float] | None = None,
) -> tuple[np.ndarray, np.ndarray, float, list[float]]:
    """A, x, the user's bias and what is left of each rating, by a dense solve over the rated items."""
    left = recency or [1.0] * len(items)
    Y = Y.astype(np.float64)
    user_bias = sum(r - mu - biases[j] for j, r in zip(items, ratings)) / (damping + len(items))
    errors = [r - mu - user_bias - biases[j] for j, r in zip(items, ratings)]
    A = sum(t * np.outer(Y[j], Y[j]) for j, t in zip(items, left)) + reg * sum(left) * np.eye(Y.shape[1])
    b = sum(t * error * Y[j] for j, t, error in zip(items, left, errors))
    return A, np.linalg.solve(A, b), user_bias, errors


def ranked(scores: list[float], n: int, excluded: set[int]) -> list[int]:
    """The n best items by a full sort, ties to the lower number."""
    return sorted((item for item in range(len(scores)) if item not in excluded), key=lambda item: (-scores[item], item))[:n]


def cosine_neighbours(rows: np.ndarray, item: int, n: int, *, shared_only: bool) -> list[tuple[int, float]]:
    """The n nearest other rows by cosine; with `shared_only` only those that share a non-zero feature."""
    rows = rows.astype(np.float64)
    found = []
    for other in range(len(rows)):
        norms = np.linalg.norm(rows[item]) * np.linalg.norm(rows[other])
        is_near = bool((rows[item] * rows[other]).any()) if shared_only else norms > 0
        if other != item and norms > 0 and is_near:
            found.append((other, float(rows[item] @ rows[other] / norms)))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:n]


def ndcg(ranking: list[int], held: set[int], k: int) -> float:
    gain = sum(1 / math.log2(position + 1) for position, item in enumerate(ranking[:k], 1) if item in held)
    return gain / sum(1 / math.log2(position + 1) for position in range(1, min(k, len(held)) + 1))


def hit_rate(ranking: list[int], held: set[int], k: int) -> float:
    return float(any(item in held for item in ranking[:k]))


def recall(ranking: list[int], held: set[int], k: int) -> float:
    return len(set(ranking[:k]) & held) / len(held)
