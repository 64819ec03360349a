"""Biased truncated SVD as an item side: biases, then the strongest directions of what they leave of the ratings.

    mu = mean rating,  b_i = sum over its ratings (r - mu) / (item_damping + n_i),
    b_u = sum over theirs (r - mu - b_i) / (damping + n_u),  e = r - mu - b_u - b_i            [biases.centred]
    E ~ U diag(s) V',  E (users, items) with e where there is a rating, 0 elsewhere            [the f largest s]

A user's row of U diag(s) is e'V, so the user is folded in without a solve, and no user factors are stored.
Singular values are shrunk by soft thresholding (Mazumder, Hastie, Tibshirani 2010): s becomes max(s - t, 0), t a
share of the smallest kept. With d = max(s - t, 0) / s and Y = V diag(sqrt d), which is what is stored:
    x = Y_S' e,  score_i = mu + b_u + b_i + y_i' x = (mu + b_u + b_i) + sum_S (y_i' y_j) e_j   [contributions]

A miniature: residuals [[1, -1], [-1, 1]], one factor. s = 2 and V = (1, -1) / sqrt 2, so without shrinkage
the user with e = (1, -1) has x = sqrt 2 and gets 1 and -1 back. Who has only item 0, with e = 1, gets 0.5 for
it and -0.5 for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from jobs.kernels.biases import centred, item_biases
from jobs.kernels.factors import contributions, Posterior, RatingFactors
from jobs.kernels.histories import Histories

SMALL = 50  # so few users or items are decomposed whole
ROUNDING = 1e-6  # a singular value this small beside the largest is rounding of its square


@dataclass(frozen=True)
class SvdFactors(RatingFactors):
    """Item side, whose factors are Y."""

    def posterior(self, items: np.ndarray, ratings: np.ndarray) -> Posterior:
        """Solve one user: items (n,) item_num, ratings (n,) on the scale.

        The posterior has A = I, which makes x = A^-1 b = Y_S' e and the contributions those of `factors`; its variance says nothing.
        """
        errors, constant = self.centred(items, ratings)
        x = errors @ self.item_factors[items].astype(np.float64)
        return Posterior(x, np.eye(len(x)), errors, constant)

    def contributions(self, posterior: Posterior, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(y_i' y_j) e_j for each history item j and target i, (n, k)."""
        return contributions(self.item_factors, posterior, items, targets)


def fit(
    histories: Histories,
    n_items: int,
    n_factors: int,
    *,
    low: float,
    high: float,
    seed: int,
    shrinkage: float = 0.0,
    item_damping: float = 5.0,
    damping: float = 5.0,
) -> SvdFactors:
    """Fit to the rows of histories, which all have ratings.

    There are always n_factors columns; those beyond the rank of the residuals are 0. Besides the residual matrix, 12 bytes a row, the memory
    is that of the Lanczos vectors: some 3 n_factors + 20 of length min(users, items), float64.

    Parameters
    ----------
    shrinkage : in [0, 1], t as a share of the smallest singular value
    """
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is a share of the smallest singular value, 0 to 1, not {shrinkage}")
    counts = np.bincount(histories.items, minlength=n_items)
    mu, biases = item_biases(np.bincount(histories.items, histories.ratings, n_items), counts, item_damping)
    errors = centred(histories.indptr, histories.items, histories.ratings, mu, biases, damping).errors
    E = csr_matrix((errors, histories.items, histories.indptr), shape=(len(histories), n_items))
    s, V = right_singular(E, n_factors, seed=seed)
    positive = s[s > 0]
    threshold = shrinkage * positive.min() if len(positive) else 0.0
    kept = np.maximum(s - threshold, 0.0) / np.where(s > 0, s, 1.0)
    return SvdFactors((V * np.sqrt(kept)).astype(np.float32), biases, mu, damping, low, high)


def right_singular(E: csr_matrix, n_factors: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the n_factors largest singular values of E (u, n), descending, (f,), and V (n, f), float64; 0 beyond the rank.

    By Lanczos from a seeded vector, or by the eigenvectors of the product with itself if one side is small; signs are such that the largest
    entry of a column is positive. The same input gives the same output.
    """
    s, V = np.zeros(n_factors), np.zeros((E.shape[1], n_factors))
    if min(E.shape) == 0 or n_factors == 0 or not E.data.any():
        return s, V
    if min(E.shape) > max(SMALL, n_factors + 1):
        start = np.random.default_rng(seed).standard_normal(min(E.shape))
        _, values, rows = svds(E, n_factors, v0=start, return_singular_vectors="vh")
    else:
        values, rows = _whole(E)
    order = np.argsort(-values, kind="stable")[:n_factors]
    order = order[values[order] > values[order[0]] * ROUNDING]
    vectors = rows[order].T
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(order))])
    s[: len(order)], V[:, : len(order)] = values[order], vectors * signs
    return s, V


def _whole(E: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """All singular values (k,) and right singular vectors (k, n), k the smaller side, from E'E or E E'."""
    if E.shape[1] <= E.shape[0]:
        squares, vectors = np.linalg.eigh((E.T @ E).toarray())
        return np.sqrt(np.maximum(squares, 0.0)), vectors.T
    squares, vectors = np.linalg.eigh((E @ E.T).toarray())
    values = np.sqrt(np.maximum(squares, 0.0))
    return values, (E.T @ vectors).T / np.where(values > 0, values, 1.0)[:, None]  # V = E'U / s
