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

the equations of a history that is folded in, in float32 and for many rows. A solve gives its row's least loss for nothing: with
A x = b, the row's part of the objective, its own regulariser included, is sum_S c - b'x, or sum_S e^2 - b'x. So
after a half iteration
    objective = sum of the rows' losses + reg sum n |y|^2 over the side that was held.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.kernels.normal_equations import add_rows, cholesky, solve
from jobs.kernels.spans import owners

PIECE = 1 << 15  # entries of a row gathered at a time: 8 MiB for 64 factors


class SolvedRows(NamedTuple):
    """One side, solved: factors (r, f) float32, and each row's part of the objective, losses (r,) float64."""

    factors: np.ndarray
    losses: np.ndarray


def initial_factors(counts: np.ndarray, n_factors: int, *, seed: int) -> np.ndarray:
    """Draw factors to begin with, (r, f) float32, normal with length 1 on average.

    Every row is drawn, so that a row's factors depend on its number and not on which others have entries; rows without an entry, counts 0,
    are then zeros.
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
    """Solve a block of rows of implicit feedback.

    Parameters
    ----------
    indptr, columns : (r + 1,), (m,) rows of other; a row without entries is 0
    strengths : (m,) at least 0
    other : (c, f) float32
    gramian : (f, f) of all of other
    """
    roots = np.sqrt(alpha * strengths).astype(np.float32)
    right = (1.0 + alpha * strengths).astype(np.float32)
    return _half(indptr, columns, other, gramian.astype(np.float32), roots, right, right, reg, piece)


def half_explicit(
    indptr: np.ndarray, columns: np.ndarray, errors: np.ndarray, other: np.ndarray, *, reg: float, piece: int = PIECE
) -> SolvedRows:
    """Solve a block of rows of ratings.

    Parameters
    ----------
    indptr, columns : (r + 1,), (m,) rows of other; a row without entries is 0
    errors : (m,) what the biases leave of the ratings
    other : (c, f) float32
    """
    nothing = np.zeros((other.shape[1],) * 2, np.float32)
    right = errors.astype(np.float32)
    return _half(indptr, columns, other, nothing, None, right, right * right, reg, piece)


def _half(
    indptr: np.ndarray,
    columns: np.ndarray,
    other: np.ndarray,
    base: np.ndarray,
    roots: np.ndarray | None,
    right: np.ndarray,
    constants: np.ndarray,
    reg: float,
    piece: int,
) -> SolvedRows:
    """Solve rows of A x = b, with A = base + sum roots^2 y y' + reg n I and b = sum right y.

    Their constants, summed, less b'x, are the rows' share of the objective.
    """
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
            add_rows(A, Y, None if roots is None else roots[part])
        factors[row] = solve(cholesky(A), rights[row])
    least = np.einsum("rf,rf->r", rights, factors, dtype=np.float64)
    return SolvedRows(factors, np.bincount(owners(indptr), constants, n_rows) - least)


def held(counts: np.ndarray, factors: np.ndarray, reg: float) -> float:
    """Return reg sum n |y|^2 of one side, for counts (r,) and factors (r, f)."""
    return reg * float(counts @ np.einsum("rf,rf->r", factors, factors, dtype=np.float64))
