"""ALS as fold-in, alternated: each row of one side solved against the other side, then the other way round.

With Y the other side's factors, S the entries of a row, n their number, and reg scaled by n on both sides
(Zhou et al. 2008):

implicit (Hu, Koren, Volinsky 2008), G = Y'Y over all of the other side:
    (G + sum_S alpha s_j y_j y_j' + reg n I) x = sum_S (1 + alpha s_j) y_j
    objective = sum over all pairs c (p - x'y)^2 + reg (sum n_u |x_u|^2 + sum n_i |y_i|^2)
                c = 1 + alpha s and p = 1 on entries, c = 1 and p = 0 elsewhere
explicit, on what biases leave of the ratings:
    (Y_S' Y_S + reg n I) x = Y_S' e
    objective = sum over entries (e - x'y)^2 + reg (the same)

the equations of `factors`, in float32 and for many rows. A solve gives its row's least loss for nothing: with
A x = b, the row's part of the objective, its own regulariser included, is sum_S c - b'x, or sum_S e^2 - b'x. So
after a half iteration
    objective = sum of the rows' losses + reg sum n |y|^2 over the side that was held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import dposv, sposv

from jobs.kernels.factors import gramian as _gramian

PIECE = 1 << 15  # entries of a row gathered at a time: 8 MiB for 64 factors
BLOCK = 1 << 18  # entries compared with their prediction at a time


class SolvedRows(NamedTuple):
    """One side, solved: factors (r, f) float32, and each row's part of the objective, losses (r,) float64."""

    factors: np.ndarray
    losses: np.ndarray


def initial_factors(counts: np.ndarray, n_factors: int, *, seed: int) -> np.ndarray:
    """Factors to begin with, (r, f) float32, normal with length 1 on average; zeros for rows without an
    entry, counts 0.

    Every row is drawn, so that a row's factors depend on its number and not on which others have entries.
    """
    drawn = np.random.default_rng(seed).standard_normal((len(counts), n_factors), np.float32)
    return drawn * ((counts > 0) / np.sqrt(n_factors)).astype(np.float32)[:, None]


def half_implicit(
    indptr: np.ndarray,
    columns: np.ndarray,
    strengths: np.ndarray,
    other: np.ndarray,
    gramian: np.ndarray,
    *,
    alpha: float,
    reg: float,
    piece: int = PIECE,
) -> SolvedRows:
    """Solve a block of rows. indptr (r + 1,), columns (m,) rows of other, strengths (m,) >= 0, other (c, f)
    float32, gramian (f, f) of all of other. A row without entries is 0."""
    extra = np.sqrt(alpha * strengths).astype(np.float32)  # Z = sqrt(alpha s) Y, so that Z'Z = sum alpha s y y'
    right = (1.0 + alpha * strengths).astype(np.float32)
    return _half(indptr, columns, other, gramian.astype(np.float32), extra, right, right, reg, piece)


def half_explicit(
    indptr: np.ndarray, columns: np.ndarray, errors: np.ndarray, other: np.ndarray, *, reg: float, piece: int = PIECE
) -> SolvedRows:
    """Solve a block of rows. errors (m,): what the biases leave of the ratings; the rest as in
    `half_implicit`."""
    nothing = np.zeros((other.shape[1],) * 2, np.float32)
    right = errors.astype(np.float32)
    return _half(indptr, columns, other, nothing, None, right, right * right, reg, piece)


def _half(
    indptr: np.ndarray,
    columns: np.ndarray,
    other: np.ndarray,
    base: np.ndarray,
    extra: np.ndarray | None,
    right: np.ndarray,
    constants: np.ndarray,
    reg: float,
    piece: int,
) -> SolvedRows:
    """A = base + Z'Z + reg n I with Z = extra Y (or Y), b = Y' right, and the rows' constants, summed, less
    b'x."""
    other = np.ascontiguousarray(other, np.float32)
    n_rows, f = len(indptr) - 1, other.shape[1]
    factors, rights = np.zeros((n_rows, f), np.float32), np.zeros((n_rows, f), np.float32)
    gathered = np.empty((piece, f), np.float32)
    base, A = np.asfortranarray(base), np.empty((f, f), np.float32, order="F")
    diagonal = np.einsum("ff->f", A)  # a view
    bounds = indptr.tolist()
    for row in np.flatnonzero(np.diff(indptr)).tolist():
        start, stop = bounds[row], bounds[row + 1]
        A[:] = base
        diagonal += np.float32(reg * (stop - start))
        for at in range(start, stop, piece):
            part = slice(at, min(at + piece, stop))
            Y = gathered[: part.stop - at]
            np.take(other, columns[part], axis=0, out=Y, mode="clip")  # else through a copy
            rights[row] += right[part] @ Y
            if extra is not None:
                Y *= extra[part, None]
            ssyrk(1.0, Y.T, beta=1.0, c=A, overwrite_c=1)  # the upper triangle: half the work of a product
        factors[row] = _solve(A, rights[row])
    row_of = np.repeat(np.arange(n_rows), np.diff(indptr))
    least = np.einsum("rf,rf->r", rights, factors, dtype=np.float64)
    return SolvedRows(factors, np.bincount(row_of, constants, n_rows) - least)


def _solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x with A x = b for a symmetric A, of which the upper triangle is given; in float64 where float32 finds
    no factor."""
    _, x, info = sposv(A, b)
    if info != 0:
        _, x, info = dposv(A.astype(np.float64), b.astype(np.float64))
    if info != 0:
        raise ValueError("the normal equations of a row are not positive definite: raise the regularisation")
    return x


def implicit_objective(
    indptr: np.ndarray,
    columns: np.ndarray,
    strengths: np.ndarray,
    rows: np.ndarray,
    other: np.ndarray,
    *,
    alpha: float,
    reg: float,
) -> float:
    """The implicit objective over all pairs of rows (r, f) and other (c, f), exactly, without visiting the
    pairs:

    sum over all (x'y)^2 = <X'X, Y'Y>, to which entries add c (1 - x'y)^2 - (x'y)^2.
    """
    observed = 0.0
    for part, predicted in _predicted(indptr, columns, rows, other):
        observed += float(((1.0 + alpha * strengths[part]) * (1.0 - predicted) ** 2 - predicted**2).sum())
    everything = float((_gramian(rows) * _gramian(other)).sum())
    return observed + everything + _regulariser(indptr, columns, rows, other, reg)


def explicit_objective(
    indptr: np.ndarray, columns: np.ndarray, errors: np.ndarray, rows: np.ndarray, other: np.ndarray, *, reg: float
) -> float:
    """The explicit objective over the entries."""
    blocks = _predicted(indptr, columns, rows, other)
    squared = sum(float(((errors[part] - predicted) ** 2).sum()) for part, predicted in blocks)
    return squared + _regulariser(indptr, columns, rows, other, reg)


def _predicted(indptr: np.ndarray, columns: np.ndarray, rows: np.ndarray, other: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of entries and what the factors say of them, x'y float64."""
    row_of = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    for at in range(0, len(columns), BLOCK):
        part = slice(at, at + BLOCK)
        yield part, np.einsum("mf,mf->m", rows[row_of[part]], other[columns[part]], dtype=np.float64)


def _regulariser(indptr: np.ndarray, columns: np.ndarray, rows: np.ndarray, other: np.ndarray, reg: float) -> float:
    """reg times the squared lengths of all factors, each as often as its row or column has entries."""
    return held(np.diff(indptr), rows, reg) + held(np.bincount(columns, minlength=len(other)), other, reg)


def held(counts: np.ndarray, factors: np.ndarray, reg: float) -> float:
    """reg sum n |y|^2 of one side, for counts (r,) and factors (r, f)."""
    return reg * float(counts @ np.einsum("rf,rf->r", factors, factors, dtype=np.float64))
