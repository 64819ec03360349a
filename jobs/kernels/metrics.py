"""Ranking and rating metrics, a value a user, from what a list hit.

With h_r = 1 where the item at position r (from 1) is one that was kept out, and m the number kept out:
    DCG@k = sum_r h_r / log2(r + 1), ideal = the same for min(m, k) hits on top     nDCG@k = DCG / ideal
    hit rate@k = 1 where any h_r = 1        recall@k = hits / m
"""

from __future__ import annotations

import numpy as np


def hits(indptr: np.ndarray, items: np.ndarray, held_indptr: np.ndarray, held_items: np.ndarray, k: int, n_items: int) -> np.ndarray:
    """(u, k) bool: whether position r of user u's list is an item that was kept out. Lists as in Lists."""
    users = len(indptr) - 1
    lengths = np.diff(indptr)
    user_of = np.repeat(np.arange(users), lengths)
    rank = np.arange(len(items)) - np.repeat(indptr[:-1], lengths)
    held = np.repeat(np.arange(users), np.diff(held_indptr)) * np.int64(n_items) + held_items
    is_hit = np.isin(user_of * np.int64(n_items) + items, held)
    table = np.zeros((users, k), bool)
    inside = rank < k
    table[user_of[inside], rank[inside]] = is_hit[inside]
    return table


def ndcg(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    """nDCG@k of each user, (u,), for hit (u, k) and n_held (u,) > 0."""
    gains = 1.0 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(n_held, hit.shape[1])]
    return hit @ gains / ideal


def hit_rate(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    return hit.any(axis=1).astype(float)


def recall(hit: np.ndarray, n_held: np.ndarray) -> np.ndarray:
    return hit.sum(axis=1) / n_held
