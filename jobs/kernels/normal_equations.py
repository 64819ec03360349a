"""The normal equations of least squares: built and solved here for training, for a history that is folded in, and for confidence.

    A x = b,   A = base + sum_j w_j y_j y_j',   b = sum_j r_j y_j

A is symmetric, so only its upper triangle is written and read. The arithmetic is that of A: float32 where millions of rows are
solved against factors that change again, float64 where one answer is given.

A miniature: base = I, one row y = (1, 0) with w = 1 and r = 2. Then A = diag(2, 1), b = (2, 0) and x = (1, 0).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dsyrk, ssyrk
from scipy.linalg.lapack import dpotrf, dpotrs, spotrf, spotrs


def add_rows(A: np.ndarray, Y: np.ndarray, roots: np.ndarray | None) -> None:
    """Add sum_j w_j y_j y_j' to A in place, and scale Y on the way.

    Parameters
    ----------
    A : (f, f) float32 or float64, in Fortran's order
        Its upper triangle is added to.
    Y : (n, f) of the type of A
        Factors of the rows, multiplied by the roots on return.
    roots : (n,) of the type of A, or None
        Square roots of the weights; None gives every row a weight of 1.
    """
    if roots is not None:
        Y *= roots[:, None]
    (ssyrk if A.dtype == np.float32 else dsyrk)(1.0, Y.T, beta=1.0, c=A, overwrite_c=1)


def cholesky(A: np.ndarray) -> np.ndarray:
    """Factorise A, of which the upper triangle is read.

    Parameters
    ----------
    A : (f, f) float32 or float64

    Returns
    -------
    (f, f)
        R in the upper triangle, with A = R'R; the rest is undefined. It is float64 where float32 finds no factor.

    Raises
    ------
    ValueError
        A is not positive definite.
    """
    factor, info = (spotrf if A.dtype == np.float32 else dpotrf)(A, clean=0)
    if info != 0 and A.dtype == np.float32:
        factor, info = dpotrf(A.astype(np.float64), clean=0)
    if info != 0:
        raise ValueError("the normal equations are not positive definite: raise the regularisation")
    return factor


def solve(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return A^-1 right, for right (f,) or (f, k), from the factor that `cholesky` gives."""
    return (spotrs if factor.dtype == np.float32 else dpotrs)(factor, right)[0]
