"""Neighbours of items by who interacted with them: cosine, BM25, Turbo-CF and adjusted cosine.

With x_i the column of item i over all users:      W_ji = x_j' x_i / (|x_j| |x_i| + shrink),  W_jj = 0

cosine             x_ui = strength
bm25               x_ui = s (K1 + 1) / (K1 (1 - B + B L_i / L) + s) * (log I - log(1 + n_u)),  s the strength, L_i
                   the sum of item i's strengths, L their mean, I the number of items, n_u the items of user u: an
                   item of few rows counts each more, a user of many items counts less. K1 and B as implicit's
                   BM25Recommender has them; it takes the product x_j' x_i without the norms, which
                   is_normalized=False gives.
turbo_cf           x_ui = n_u^-a n_i^(a-1), and W_ji = (x_j' x_i)^p without the norms (Park, Shin and Shin 2024): n_u the items of
                   user u, n_i the users of item i. A low-pass filter on the graph of users and items; p < 1 lifts weak
                   neighbours, which are most of what is known of a rare item.
adjusted cosine    x_ui = r_ui - mean of user u's ratings (Sarwar et al. 2001). The norms go over all ratings of an
                   item and not over the common raters of a pair: one common rater would make any two items equal
                   or opposite.

Shrink takes weight from pairs of items that few know, where the cosine is chance. Only positive similarities
are kept.

A miniature: users {0, 1}, {0, 1} and {1}, all strengths 1. |x_0| = sqrt 2, |x_1| = sqrt 3, x_0' x_1 = 2, so
W_01 = W_10 = 2 / sqrt 6 = 0.816; with shrink 1, 2 / (sqrt 6 + 1) = 0.580.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.spans import owners
from jobs.kernels.weights import blocks_of, concatenated, largest, stacked

K1, B = 1.2, 0.75
BLOCK_CELLS = 1 << 22  # cells of the product held at a time: some 50 MiB
GATHERED = 1 << 22  # interactions of an item's users gathered at a time
LONG = 8  # a row of the product is long where it adds up more than an eighth of the items


def bm25_weights(indptr: np.ndarray, items: np.ndarray, strengths: np.ndarray, n_items: int, *, k1: float = K1, b: float = B) -> np.ndarray:
    """BM25 weight of each interaction, (m,) float64."""
    sums = np.bincount(items, strengths, n_items)
    length = 1.0 - b + b * sums / max(sums.mean(), np.finfo(float).tiny)
    lengths = np.diff(indptr)
    idf = np.log(
        n_items / (1.0 + lengths)
    )  # exactly 0 for a user of all items but one; a difference of logarithms is not, on some processors
    return strengths * (k1 + 1.0) / (k1 * length[items] + strengths) * np.repeat(idf, lengths)


def turbo_weights(indptr: np.ndarray, items: np.ndarray, n_items: int, by_user: float) -> np.ndarray:
    """Turbo-CF's weight of each interaction, (m,) float64; by_user is a, in 0..1."""
    lengths, n_users = np.diff(indptr), np.bincount(items, minlength=n_items)
    return np.repeat(np.maximum(lengths, 1.0) ** -by_user, lengths) * n_users[items] ** (by_user - 1.0)


def over_mean(indptr: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Ratings less the mean of their user's, (m,) float64; 0 if there is no rating."""
    n_users, user_of = len(indptr) - 1, owners(indptr)
    is_rated = ~np.isnan(ratings)
    known = np.where(is_rated, ratings, 0.0)
    counts = np.bincount(user_of, is_rated, n_users)
    means = np.bincount(user_of, known, n_users) / np.maximum(counts, 1)
    return np.where(is_rated, known - means[user_of], 0.0)


class Columns(NamedTuple):
    """X (users, n_items) float64 by user, and the same by item.

    norms (n_items,) are those of its columns, and n_pairs (n_items,) what a row of X' X adds up: the items of the item's users.
    """

    X: csr_matrix
    by_item: csr_matrix
    norms: np.ndarray
    n_pairs: np.ndarray

    @classmethod
    def of(cls, X: csr_matrix) -> Columns:
        lengths, n_items = np.diff(X.indptr), X.shape[1]
        norms = np.sqrt(np.bincount(X.indices, X.data**2, n_items))
        return cls(X, X.T.tocsr(), norms, np.bincount(X.indices, np.repeat(lengths, lengths), n_items))

    def nearest(
        self,
        start: int,
        stop: int,
        keep: int,
        *,
        shrink: float = 0.0,
        is_normalized: bool = True,
        block_cells: int = BLOCK_CELLS,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows start:stop of X' X as CSR arrays, each row divided, shorn of itself and of all but its keep largest."""
        norms = self.norms if is_normalized else np.zeros(len(self.norms))
        # Never 0: items without a row have no norm. A bare product is divided by 1 + shrink.
        floor = shrink + (np.finfo(float).tiny if is_normalized else 1.0)
        is_long = self.n_pairs > len(norms) / LONG

        def rows_of(span: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = []
            for j, (items, values) in zip(range(span.start, span.stop), _products(self.X, self.by_item, span, is_long)):
                nearness = np.maximum(values, 0.0) / (norms[j] * norms[items] + floor)
                nearness[items == j] = 0.0
                rows.append(largest(items, nearness, keep))
            return concatenated(rows)

        costs = (np.where(is_long, 0, self.n_pairs) + keep)[start:stop]
        spans = (slice(start + span.start, start + span.stop) for span in blocks_of(costs, block_cells))
        weights = stacked(rows_of(span) for span in spans)
        return weights.indptr, weights.indices, weights.data


def _products(X: csr_matrix, by_item: csr_matrix, span: slice, is_long: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (items, products) of each row of X' X in span.

    Long rows are added up in a dense vector, which takes a quarter of the time of a sparse product; for short ones the vector would be
    mostly zeros. Either adds a row's users in their order.
    """
    everything, lengths = np.arange(X.shape[1], dtype=np.int32), np.diff(X.indptr)
    short = by_item[span.start + np.flatnonzero(~is_long[span])] @ X
    at = 0
    for j in range(span.start, span.stop):
        if is_long[j]:
            column = slice(by_item.indptr[j], by_item.indptr[j + 1])
            users, values = by_item.indices[column], by_item.data[column]
            parts = blocks_of(lengths[users], GATHERED)
            yield everything, sum(X[users[part]].T @ values[part] for part in parts)
        else:
            row = slice(short.indptr[at], short.indptr[at + 1])
            yield short.indices[row], short.data[row]
            at += 1
