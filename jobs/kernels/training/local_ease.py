"""EASE for items that the dense inverse has no room for: the closed form of each over its own neighbourhood.

    S = the m items i with the largest G_ij^2 / A_ii             G = X'X,  A = G + D,  D_ii = lambda + p / (1 - p) n_i
    w = A_SS^-1 G_Sj                                             n_i the users of item i
    P_jj = 1 / (A_jj - G_jS w),  P_Sj = -w P_jj                  P the inverse of A over S and j, by the inverse of a block matrix
    B_ij = -P_ij / P_jj,  B_ji = -P_ij / P_ii                    the closed form of `jobs.kernels.training.ease`

One Cholesky solve gives both directions. G_ij^2 / A_ii is how much of j the item i alone takes from the loss, so S is what explains j best,
one by one. So few suffice because P is nearly sparse: given some others, an item hangs on no more (Steck 2019, Markov Random Fields for Collaborative
Filtering, arXiv 1910.09645; SANSA, Spisak et al., RecSys 2023, finds a sparse P by an incomplete factor).

Items stand head first. The head, the most popular, is solved densely, and all its pairs are known. Of every other item, the tail, the
`keep` strongest pairs are, by G_ij / sqrt(A_ii A_jj); a pair of the tail that neither item keeps counts as none. Weights between items
of the head stay what they are without the tail, and so does P_ii.

A miniature: users {0, 1}, {0, 1}, {0}, lambda 1, head {0}. Item 1 has S = {0}, A_00 = 4, A_11 = 3 and G_01 = 2, so w = 0.5 and P_11 = 1 / 2,
and B_01 = 0.5. Of the head alone P_00 = 1 / 4, so B_10 = 0.5 / 2 * 4 = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv
from scipy.sparse import csr_matrix

from jobs.kernels.training.cooccurrence import BLOCK_CELLS, Columns
from jobs.kernels.weights import combined, concatenated, ItemWeights, largest

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def penalties(counts: np.ndarray, reg: float, dropout: float) -> np.ndarray:
    """D_ii of items with counts (k,) users, (k,) float64."""
    return reg + dropout / (1 - dropout) * counts


def strongest_pairs(columns: Columns, start: int, stop: int, keep: int, *, block_cells: int = BLOCK_CELLS) -> Arrays:
    """Count the pairs of items start:stop with all others, and keep the strongest of each item.

    Parameters
    ----------
    columns : of binary X, its norms sqrt A_ii

    Returns
    -------
    rows start:stop of G without its diagonal as CSR arrays, ties to the lower item
    """
    indptr, items, nearness = columns.nearest(start, stop, keep, block_cells=block_cells)
    owners = start + np.repeat(np.arange(stop - start), np.diff(indptr))
    return indptr, items, np.rint(nearness * columns.norms[items] * columns.norms[owners]).astype(np.float32)  # counts are whole


class Pairs(NamedTuple):
    """Counts of G: gram (h, h) of the head, and tail (t, h + t), the strongest pairs of the other items; n_i and D_ii (h + t,)."""

    gram: np.ndarray
    tail: csr_matrix
    counts: np.ndarray
    penalties: np.ndarray

    def inverse(self, start: int, stop: int, n_neighbours: int) -> Arrays:
        """Rows h + start:h + stop of the sparse P, as CSR arrays."""
        return concatenated(self._row(j, n_neighbours) for j in range(start, stop))

    def _row(self, number: int, n_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        span, j = slice(self.tail.indptr[number], self.tail.indptr[number + 1]), len(self.gram) + number
        items, pairs = self.tail.indices[span], self.tail.data[span].astype(np.float64)
        S, _ = largest(items, pairs**2 / (self.counts + self.penalties)[items], n_neighbours)
        G = pairs[np.searchsorted(items, S)]
        w = _solved(self._system(S), G)
        rest = max(self.counts[j] - G @ w, 0.0)  # below 0 only where pairs are missing
        P = 1 / (rest + self.penalties[j])
        place = int(np.searchsorted(S, j))
        return np.insert(S, place, j), np.insert(-w * P, place, P).astype(np.float32)

    def _system(self, S: np.ndarray) -> np.ndarray:
        """A_SS (s, s) float64 of ascending items S."""
        n_head = len(self.gram)
        h = int(np.searchsorted(S, n_head))
        A = np.zeros((len(S), len(S)))
        A[:h, :h] = self.gram[np.ix_(S[:h], S[:h])]
        if h < len(S):
            A[h:] = self.tail[S[h:] - n_head][:, S].toarray()
            A[:h, h:] = A[h:, :h].T
            A[h:, h:] = np.maximum(A[h:, h:], A[h:, h:].T)
        A.flat[:: len(S) + 1] = self.counts[S] + self.penalties[S]
        return A


def _solved(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A^-1 b for A (s, s) and b (s,). Pairs that count as none can leave A without a factor: its diagonal is doubled until it has one."""
    if not len(b):
        return b
    while True:
        _, x, info = dposv(A, b, lower=1)
        if info == 0:
            return x
        A.flat[:: len(A) + 1] *= 2


def with_tail(
    head: ItemWeights,
    inverse: ItemWeights,
    precisions: np.ndarray,
    kept: np.ndarray,
    counts: np.ndarray,
    keep: int,
    *,
    rarity_exponent: float = 0.0,
) -> ItemWeights:
    """Join the weights between items of the head with all others, and keep the strongest of each row.

    Parameters
    ----------
    head : over all items, already scaled
    inverse, precisions : the tail's t rows of P, and P_ii (h,) of the head
    kept, counts : (h + t,) item_nums, head first, and their users
    rarity_exponent : a, with which the weights are B_ij (n_i / n_j)^a
    """
    n_items, scales = head.n_items, counts.astype(np.float64) ** rarity_exponent
    rows, columns = len(precisions) + np.repeat(np.arange(inverse.n_items), np.diff(inverse.indptr)), inverse.indices
    precisions = np.append(precisions, inverse.data[rows == columns])
    to_tail, to_head = np.flatnonzero(rows != columns), np.flatnonzero(columns < len(precisions) - inverse.n_items)
    sources, targets = np.append(columns[to_tail], rows[to_head]), np.append(rows[to_tail], columns[to_head])
    values = -inverse.data[np.append(to_tail, to_head)] / precisions[targets] * (scales[sources] / scales[targets])
    others = csr_matrix((values.astype(np.float32), (kept[sources], kept[targets])), shape=(n_items, n_items))
    others.sort_indices()
    whole = ItemWeights(others.indptr.astype(np.int64), others.indices.astype(np.int32), others.data)
    return combined([(1.0, head), (1.0, whole)], n_items, keep)
