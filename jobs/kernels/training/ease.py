"""EASE: the item-by-item weights that best rebuild each user's items from their others, in closed form.

    min_B |X - X B|^2 + lambda |B|^2  with  diag B = 0   (Steck 2019, Embarrassingly Shallow Autoencoders, eq. 8)
    P = (X'X + lambda I)^-1,   B_ij = -P_ij / P_jj  for i != j,   B_jj = 0

which is B = I - P diag(1 / diag P). A user's scores are x' B, so row j of B is what history item j adds to
each target. The inverse is dense: memory grows with the square of the items and time with the cube. Where it has no room
for all items `jobs.kernels.training.local_ease` solves the less popular ones.

Dropout of rate p hides each item of a user with that chance while the others are to rebuild it (Steck 2020, Autoencoders that don't overfit
towards the Identity). In expectation it adds p / (1 - p) n_i to the diagonal, n_i the users of item i: what many have is trusted less. Weights
may then be scaled to B_ij (n_i / n_j)^a (as in Why is Normalization Necessary for Linear Recommenders?, SIGIR 2025): a above 0 lets rare items
come in where popular ones would crowd them out.

A miniature: users {0, 1}, {0, 1}, {0} and lambda 1. X'X + I = [[4, 2], [2, 3]], P = [[3, -2], [-2, 4]] / 8,
so B_01 = 2 / 4 = 0.5 (who has item 0 gets item 1 by that much) and B_10 = 2 / 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import dpotrf, dpotri, spotrf, spotri
from scipy.sparse import csr_matrix

from jobs.kernels.weights import blocks_of, ItemWeights, stacked, strongest

PAIRS = 1 << 25  # pairs of items that a block of users adds up: at most 8 bytes each, 256 MiB
CELLS = 1 << 22  # matrix cells worked on at a time otherwise, some 8 to 24 bytes each
DENSE = 20  # a user with more than a twentieth of the items is cheaper in a dense product
N_CHECKED = 8  # columns of the inverse whose residual is looked at
ACCURATE = 1e-3  # the largest residual |P A - I| that float32 may leave


def memory_mib(n_kept: int) -> float:
    """Estimate the peak of `gram` and `solve` for n_kept items, besides the interactions.

    It is the float32 matrix with the float64 copy that the fallback needs, or with the sparse product of a block of users.
    """
    cells = n_kept**2
    return (4 * cells + max(8 * cells, 8 * min(PAIRS, cells)) + 24 * CELLS) / 2**20


def most_popular(items: np.ndarray, n_items: int, n_kept: int) -> np.ndarray:
    """Return the n_kept items with the most interactions, (<= n_kept,) int32, ascending; ties go to the lower number."""
    counts = np.bincount(items, minlength=n_items)
    order = np.lexsort((np.arange(n_items), -counts))[:n_kept]
    return np.sort(order[counts[order] > 0]).astype(np.int32)


def gram(indptr: np.ndarray, items: np.ndarray, kept: np.ndarray, n_items: int, *, pairs: int = PAIRS, dense: float = DENSE) -> np.ndarray:
    """Compute X'X over the kept items, (k, k) float32, for binary X.

    Entries count users, so float32 is exact below 2**24 users, and the grams of blocks of users add up to that of all. Users of few items
    are added by sparse products of some `pairs` cells, users of many by dense ones: X is never dense as a whole.

    Parameters
    ----------
    indptr, items : (u + 1,), (m,) by user
    kept : (k,) ascending
    """
    X = kept_columns(indptr, items, kept, n_items)
    lengths = np.diff(X.indptr).astype(np.int64)
    k = len(kept)
    total = np.zeros((k, k), np.float32)
    many, few = np.flatnonzero(lengths > k / dense), np.flatnonzero(lengths <= k / dense)
    for part in blocks_of(np.full(len(many), k), CELLS):
        ssyrk(1.0, X[many[part]].toarray().T, beta=1.0, c=total.T, overwrite_c=1)  # total's lower triangle
    _mirror(total)
    for part in blocks_of(lengths[few] ** 2, pairs):
        rows = X[few[part]]
        product = rows.T.tocsr() @ rows
        for span in _row_blocks(k):
            total[span] += product[span].toarray()
    return total


def kept_columns(indptr: np.ndarray, items: np.ndarray, kept: np.ndarray, n_items: int) -> csr_matrix:
    """X (u, k) float32 of kept items (k,) in their order; in a row the columns stand as the items do."""
    place = np.full(n_items, -1, np.int32)
    place[kept] = np.arange(len(kept))
    columns = place[items]
    is_kept = columns >= 0
    bounds = np.concatenate([[0], np.cumsum(is_kept)])[indptr]
    columns = columns[np.flatnonzero(is_kept)]
    return csr_matrix((np.ones(len(columns), np.float32), columns, bounds), shape=(len(indptr) - 1, len(kept)))


def solve(gramian: np.ndarray, reg: float, *, dropout: float = 0.0, accurate: float = ACCURATE) -> np.ndarray:
    """B (k, k) float32 for X'X (k, k) float32, written over it, lambda > 0 and a dropout of rate p, 0 <= p < 1."""
    return weights_of(inverse(gramian, reg, dropout=dropout, accurate=accurate))


def weights_of(P: np.ndarray) -> np.ndarray:
    """B (k, k) of the inverse P, written over it."""
    P /= -P.diagonal()  # B_ij = -P_ij / P_jj: column j by its own P_jj
    P.flat[:: len(P) + 1] = 0.0
    return P


def inverse(gramian: np.ndarray, reg: float, *, dropout: float = 0.0, accurate: float = ACCURATE) -> np.ndarray:
    """P (k, k) float32 for X'X (k, k) float32, written over it.

    Inverted in float32, which takes half the time and memory; where that fails, or leaves more than
    `accurate`, in float64.
    """
    if not reg > 0:
        raise ValueError(f"lambda must be above 0, not {reg}: X'X alone need not have an inverse")
    A = np.require(gramian, np.float32, ["C", "W"])
    if len(A) == 0:
        return A
    A.flat[:: len(A) + 1] += np.float32(reg) + np.float32(dropout / (1 - dropout)) * A.diagonal()
    diagonal = A.diagonal().copy()
    checked = np.unique(np.linspace(0, len(A) - 1, N_CHECKED).astype(int))
    columns = A[:, checked].astype(np.float64)
    if not (_invert(A, spotrf, spotri) and _residual(A, columns, checked) <= accurate):
        # The triangle that was not overwritten still holds X'X + lambda I.
        exact = np.array(A.T, np.float64, order="C")
        exact.flat[:: len(A) + 1] = diagonal
        if not _invert(exact, dpotrf, dpotri):
            raise ValueError(f"X'X + {reg} I is not positive definite in float64: raise lambda")
        A[:] = exact
    _mirror(A)
    return A


def _invert(A: np.ndarray, potrf: Callable[..., Any], potri: Callable[..., Any]) -> bool:
    """Invert the symmetric A into its own lower triangle, by Cholesky; say whether that was possible.

    LAPACK counts by columns, so what it knows as the upper triangle of A.T is the lower of A, in place.
    """
    _, info = potrf(A.T, lower=0, clean=0, overwrite_a=1)
    return info == 0 and potri(A.T, lower=0, overwrite_c=1)[1] == 0


def _residual(A: np.ndarray, columns: np.ndarray, checked: np.ndarray) -> float:
    """Return max |P c - e| over the checked columns c of what was inverted, P being in the lower triangle of A."""
    product = np.zeros_like(columns)
    for span in _row_blocks(len(A)):
        lower = np.tril(A[span, : span.stop], span.start).astype(np.float64)
        product[span] += lower @ columns[: span.stop]
        product[: span.stop] += np.tril(lower, span.start - 1).T @ columns[span]
    product[checked, np.arange(len(checked))] -= 1.0
    return float(np.abs(product).max())  # NaN, which is no more accurate than anything, compares as False


def _mirror(A: np.ndarray) -> None:
    """Copy the lower triangle of A (k, k) to the upper."""
    for span in _row_blocks(len(A)):
        A[span, span.stop :] = A[span.stop :, span].T
        own = A[span, span]
        own[:] = np.tril(own) + np.tril(own, -1).T


def _row_blocks(k: int) -> Iterator[slice]:
    return blocks_of(np.full(k, k), CELLS)


def item_weights(
    B: np.ndarray, kept: np.ndarray, n_items: int, keep: int, *, counts: np.ndarray | None = None, rarity_exponent: float = 0.0
) -> ItemWeights:
    """B (k, k) over the kept items as weights over all n_items, with the keep largest of each row.

    Parameters
    ----------
    counts, rarity_exponent : n_i (k,) and a, with which the weights are B_ij (n_i / n_j)^a; None for B itself
    """
    scales = np.ones(len(kept), np.float32) if counts is None else (counts.astype(np.float64) ** rarity_exponent).astype(np.float32)
    part = stacked(strongest(B[span] * (scales[span, None] / scales), keep) for span in _row_blocks(len(kept)))
    lengths = np.zeros(n_items, np.int64)
    lengths[kept] = np.diff(part.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return ItemWeights(indptr, np.asarray(kept, np.int32)[part.indices], part.data)
