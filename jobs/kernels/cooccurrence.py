"""Neighbours of items by who interacted with them: cosine, BM25 and adjusted cosine, from the interactions of all users.

With x_i the column of item i over all users:      W_ji = x_j' x_i / (|x_j| |x_i| + shrink),  W_jj = 0

cosine             x_ui = strength
bm25               x_ui = s (K1 + 1) / (K1 (1 - B + B L_i / L) + s) * (log I - log(1 + n_u)), s the strength, L_i the sum of
                   item i's strengths, L their mean, I the number of items, n_u the items of user u: an item of few rows
                   counts each more, a user of many items counts less. K1 and B as implicit's BM25Recommender has them; it
                   takes the product x_j' x_i without the norms, which is_normalized=False gives.
adjusted cosine    x_ui = r_ui - mean of user u's ratings (Sarwar et al. 2001). The norms go over all ratings of an item and
                   not over the common raters of a pair: one common rater would make any two items equal or opposite.

Shrink takes weight from pairs of items that few know, where the cosine is chance. Only positive similarities are kept.

A miniature: users {0, 1}, {0, 1} and {1}, all strengths 1. |x_0| = sqrt 2, |x_1| = sqrt 3, x_0' x_1 = 2, so
W_01 = W_10 = 2 / sqrt 6 = 0.816; with shrink 1, 2 / (sqrt 6 + 1) = 0.580.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.weights import blocks_of, ItemWeights, joined, largest, stacked

K1, B = 1.2, 0.75
BLOCK_CELLS = 1 << 24  # cells of the product held at a time: 12 bytes each, 200 MiB


def cosine(
    indptr: np.ndarray, items: np.ndarray, strengths: np.ndarray, n_items: int, keep: int, *, shrink: float = 0.0,
    block_cells: int = BLOCK_CELLS,
) -> ItemWeights:
    """The keep nearest items of each by cosine. indptr (u + 1,), items (m,) item_num, strengths (m,) > 0, by user."""
    return _neighbours(_matrix(indptr, items, strengths, n_items), keep, shrink, block_cells)


def bm25(
    indptr: np.ndarray, items: np.ndarray, strengths: np.ndarray, n_items: int, keep: int, *, shrink: float = 0.0,
    k1: float = K1, b: float = B, is_normalized: bool = True, block_cells: int = BLOCK_CELLS,
) -> ItemWeights:
    """The keep nearest items of each by the cosine of BM25 weights, or by their product."""
    x = bm25_weights(indptr, items, strengths, n_items, k1=k1, b=b)
    return _neighbours(_matrix(indptr, items, x, n_items), keep, shrink, block_cells, is_normalized=is_normalized)


def adjusted_cosine(
    indptr: np.ndarray, items: np.ndarray, ratings: np.ndarray, n_items: int, keep: int, *, shrink: float = 0.0,
    block_cells: int = BLOCK_CELLS,
) -> ItemWeights:
    """The keep nearest items of each by how users rated them, compared with the user's mean. ratings (m,), NaN for none."""
    return _neighbours(_matrix(indptr, items, over_mean(indptr, ratings), n_items), keep, shrink, block_cells)


def bm25_weights(
    indptr: np.ndarray, items: np.ndarray, strengths: np.ndarray, n_items: int, *, k1: float = K1, b: float = B
) -> np.ndarray:
    """BM25 weight of each interaction, (m,) float64."""
    sums = np.bincount(items, strengths, n_items)
    length = 1.0 - b + b * sums / max(sums.mean(), np.finfo(float).tiny)
    lengths = np.diff(indptr)
    idf = np.log(n_items) - np.log1p(lengths)
    return strengths * (k1 + 1.0) / (k1 * length[items] + strengths) * np.repeat(idf, lengths)


def over_mean(indptr: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Ratings less the mean of their user's, (m,) float64; 0 where there is no rating."""
    lengths = np.diff(indptr)
    user_of = np.repeat(np.arange(len(lengths)), lengths)
    is_rated = ~np.isnan(ratings)
    known = np.where(is_rated, ratings, 0.0)
    means = np.bincount(user_of, known, len(lengths)) / np.maximum(np.bincount(user_of, is_rated, len(lengths)), 1)
    return np.where(is_rated, known - means[user_of], 0.0)


def _matrix(indptr, items, values, n_items) -> csr_matrix:
    """(users, n_items) float64, without zeros: they would cost as much as the rest."""
    matrix = csr_matrix((values, items, indptr), shape=(len(indptr) - 1, n_items), dtype=np.float64, copy=True)
    matrix.eliminate_zeros()
    return matrix


def _neighbours(X: csr_matrix, keep: int, shrink: float, block_cells: int, *, is_normalized: bool = True) -> ItemWeights:
    """X' X in blocks of rows, each row divided, shorn of itself and of all but its keep largest."""
    by_item = X.T.tocsr()
    norms = np.sqrt(np.bincount(X.indices, X.data**2, X.shape[1])) if is_normalized else np.zeros(X.shape[1])
    floor = shrink if is_normalized else shrink + 1.0  # a bare product is divided by 1 + shrink
    # A row of the product has no more cells than its item's users have items, nor than there are items.
    pairs = by_item.astype(bool).astype(np.float64) @ np.diff(X.indptr)
    blocks = blocks_of(np.minimum(pairs, X.shape[1]), block_cells)
    return stacked(_nearest(by_item[span] @ X, span.start, norms, floor, keep) for span in blocks)


def _nearest(products: csr_matrix, start: int, norms: np.ndarray, floor: float, keep: int):
    """CSR arrays of the rows from start on. Row by row, because a row stays in the cache and a block does not."""
    rows = []
    for j in range(products.shape[0]):
        span = slice(products.indptr[j], products.indptr[j + 1])
        found, values = products.indices[span], products.data[span]
        is_near = (values > 0) & (found != start + j)
        found, values = found[is_near], values[is_near]
        rows.append(largest(found, values / (norms[start + j] * norms[found] + floor), keep))
    return joined(rows)
