"""Factors and biases of ratings by variational Bayes: ALS that knows how unsure each row of the other side is.

A rating is mu + b_u + b_i + x'y + noise, with normal priors on the biases and factors of both sides (Salakhutdinov and Mnih 2008). What is
believed of a row is normal too, and independent of other rows (Lim and Teh 2007; Raiko, Ilin and Karhunen 2007). With S the entries of a
row, n their number, y, v and c the means and variances of the other side's factors and their covariances with its bias, and
e = r - mu - b_other, a row is one solve of bias and factors together, here with everything divided by the precision of the noise:

    | n + damping   s'                             |  | b |   | sum_S e       |
    | s             sum_S (yy' + diag v) + ridge   |  | x | = | sum_S e y - c |      s = sum_S y
    variances of x = noise * diagonal of the inverse,   covariances of b and x = noise * its first row

so ALS is the case of v = c = 0, and ALS-WR of v = reg, c = 0 and no ridge. b is eliminated first: with b0 = sum_S e / (n + damping),
    (sum_S (yy' + diag v) + ridge - s s' / (n + damping)) x = sum_S (e - b0) y - c,    b = b0 - s'x / (n + damping)

The ridge is noise / the mean of x^2 + variance over the rows of a side, and the noise is the mean squared error that is expected. Both are learned,
one ridge a factor. Such a fit ends in one of many optima, and their average predicts better than any: so the f factors are n_blocks models that are
fitted beside each other, each from a start of its own, of which only the biases are shared, as their mean.

A miniature: one factor, no damping, a ridge of 1, noise 1. A row of two ratings 3 and 1 above the mean, of others with y = (1, -1),
v = (0.5, 0.5) and c = 0: s = 0, b = 2, and x = ((3 - 2) * 1 + (1 - 2) * -1) / (2 + 1 + 1) = 0.5, of variance 0.25.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.biases import damped, LEAST
from jobs.kernels.spans import owners

PIECE = 1 << 15  # entries of a row gathered at a time
ROWS = 256  # solved at a time


class Moments(NamedTuple):
    """Means and variances that are believed of one side; a row without entries is 0.

    Factors (r, f) float32 and biases (r,) float64, the factors' variances and their covariances with the bias, (r, f) float32.
    """

    factors: np.ndarray
    variances: np.ndarray
    covariances: np.ndarray
    biases: np.ndarray


class SolvedHalf(NamedTuple):
    """One side, solved, and by row and block the expected sum of squared errors, (r, n_blocks) float64."""

    moments: Moments
    errors: np.ndarray


def half(
    indptr: np.ndarray,
    columns: np.ndarray,
    ratings: np.ndarray,
    other: Moments,
    *,
    ridge: np.ndarray,
    noise: np.ndarray,
    damping: float,
    piece: int = PIECE,
) -> SolvedHalf:
    """Solve a block of rows.

    Parameters
    ----------
    indptr, columns : (r + 1,), (m,) rows of other
    ratings : (m,) less the overall mean
    other : of the other side
    ridge : (f,) what is added to the diagonal
    noise : (n_blocks,) variance of the noise; f is a multiple of n_blocks
    damping : ratings of 0 that a bias is the mean of, beside its own
    """
    n_rows, f, n_blocks = len(indptr) - 1, other.factors.shape[1], len(noise)
    shape, lengths, owner = (n_blocks, f // n_blocks), np.diff(indptr), owners(indptr)
    divisors = np.maximum(lengths + damping, LEAST)
    raw = ratings - other.biases[columns]
    means = damped(np.bincount(owner, raw, n_rows), lengths, damping)
    left = np.ones((2, len(raw)), np.float32)
    left[1] = raw - means[owner]
    entries = csr_matrix((left[0], columns, indptr), shape=(n_rows, len(other.factors)))
    spread, drift = entries @ other.variances + ridge.astype(np.float32), entries @ other.covariances
    nothing = np.zeros((n_rows, f), np.float32)
    moments = Moments(nothing, nothing.copy(), nothing.copy(), np.zeros(n_rows))
    errors = np.zeros((n_rows, n_blocks))
    raw_squares, wide_noise, wide_ridge = np.bincount(owner, raw * raw, n_rows), noise[:, None], ridge.reshape(shape)
    for start in range(0, n_rows, ROWS):
        rows = start + np.flatnonzero(lengths[start : start + ROWS])
        A, sums = _gathered(rows, indptr, columns, left, other.factors, n_blocks, piece)
        s, right, divisor, mean = sums[:, 0], sums[:, 1], divisors[rows, None, None], means[rows, None]
        A -= s[:, :, :, None] * (s / divisor.astype(np.float32))[:, :, None, :]
        np.einsum("rbff->rbf", A)[:] += spread[rows].reshape(-1, *shape)
        inverse = np.linalg.inv(A)
        right -= drift[rows].reshape(-1, *shape)
        x = np.matmul(inverse, right[..., None])[..., 0].astype(np.float64)
        toward = np.matmul(inverse, s[..., None])[..., 0] / divisor  # the first row of the whole inverse, with its sign turned
        variances = np.einsum("rbff->rbf", inverse).astype(np.float64)
        biases = mean - (s * x).sum(axis=2) / divisor[:, :, 0]
        moments.factors[rows] = x.reshape(len(rows), f)
        moments.variances[rows] = (wide_noise * variances).reshape(len(rows), f)
        moments.covariances[rows] = -(wide_noise * toward).reshape(len(rows), f)
        moments.biases[rows] = biases.mean(axis=1)
        # sum e^2 - z'b - z'Pz of the solution z, and the trace of what its covariance adds: noise (size - trace of P A^-1), P the priors
        explained = biases * divisor[:, :, 0] * mean + (x * (right + mean[..., None] * s)).sum(axis=2)
        held = damping * biases**2 + (wide_ridge * x * x).sum(axis=2)
        of_bias = (1.0 + (s * toward).sum(axis=2)) / divisor[:, :, 0]
        unsure = shape[1] + 1 - (wide_ridge * variances).sum(axis=2) - damping * of_bias
        errors[rows] = raw_squares[rows, None] - explained - held + noise * unsure
    return SolvedHalf(moments, errors)


def _gathered(
    rows: np.ndarray, indptr: np.ndarray, columns: np.ndarray, left: np.ndarray, factors: np.ndarray, n_blocks: int, piece: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_S yy' of each row and block, (k, n_blocks, w, w), and sums of y and of y times left[1], (k, 2, n_blocks, w)."""
    width = factors.shape[1] // n_blocks
    A = np.zeros((len(rows), n_blocks, width, width), np.float32)
    sums = np.zeros((len(rows), 2, n_blocks * width), np.float32)
    for k, (start, stop) in enumerate(zip(indptr[rows].tolist(), indptr[rows + 1].tolist())):
        for at in range(start, stop, piece):
            part = slice(at, min(at + piece, stop))
            Y = factors[columns[part]]
            blocks = Y.reshape(len(Y), n_blocks, width)
            A[k] += np.matmul(blocks.transpose(1, 2, 0), blocks.transpose(1, 0, 2))
            sums[k] += left[:, part] @ Y
    return A, sums.reshape(len(rows), 2, n_blocks, width)
