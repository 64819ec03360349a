"""Nearest neighbours of items by cosine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags_array

from jobs.kernels.selection import near_best
from jobs.kernels.spans import owners
from jobs.kernels.topn import FILTERED, top_n

FLOAT32_NOISE = 1e-5  # of a cosine in float32, whatever the length of the vectors


class Vectors(NamedTuple):
    """Items as vectors, whose angles say how alike two items are.

    rows (n_items, k) float32, dense or CSR, and norms (n_items,) their lengths: an item of length 0 is like no other.
    """

    rows: Any
    norms: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray | csr_matrix) -> Vectors:
        if isinstance(rows, np.ndarray):
            return cls(rows, np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=float)))
        return cls(rows, np.sqrt(np.bincount(owners(rows.indptr), rows.data.astype(float) ** 2, rows.shape[0])))

    @classmethod
    def of_arrays(cls, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, n_features: int) -> Vectors:
        """Return the rows of a CSR matrix as vectors."""
        return cls.of(csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, n_features)))


def nearest_to_all(vectors: Vectors, items: np.ndarray, n: int, excluded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of several items together, best first.

        sum_j cos(i, j) = u_i . sum_j u_j,   u_i = y_i / |y_i|

    Sums in float32 find candidates, those that can matter are added up again in float64. Ties go to the lower item_num.

    Parameters
    ----------
    items : (k,) item_num, each once; one of length 0 adds nothing
    excluded : (m,) item_num that are nobody's neighbours here; items themselves are, unless they are named

    Returns
    -------
    item_num (<= n,) and the sum of its cosines with the items, float64. Items at right angles to all of them, as those that share no
    term with any, are not neighbours.
    """
    known = np.sort(items[vectors.norms[items] > 0])
    total = np.asarray((1 / vectors.norms[known]) @ vectors.rows[known]).ravel()
    lengths = np.where(vectors.norms > 0, vectors.norms, 1).astype(np.float32)
    sums = np.asarray(vectors.rows @ total.astype(np.float32)) / lengths
    sums[sums == 0] = -np.inf
    sums[excluded] = -np.inf
    found = near_best(sums, n, noise=FLOAT32_NOISE * max(len(known), 1))
    exact = _products(vectors.rows[found], total) / vectors.norms[found]
    order = np.lexsort((found, -exact))[:n]
    return found[order], exact[order]


def _products(rows: np.ndarray | csr_matrix, total: np.ndarray) -> np.ndarray:
    """Each row (c, k) times total (k,), by itself, so that a sum is the same float whichever others are asked for."""
    return np.einsum("ck,k->c", rows.astype(np.float64), total) if isinstance(rows, np.ndarray) else rows @ total


def factor_neighbours(item_factors: np.ndarray, block: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of the items in block (b,) by the angle of their factors, best first.

    item_factors (n_items, f) float32. Returns item_num (m,), neighbour item_num (m,) and cosine (m,), at most n an item;
    items with zero factors have none and are nobody's.
    """
    norms = np.linalg.norm(item_factors, axis=1)
    unit = item_factors / np.where(norms > 0, norms, 1)[:, None].astype(np.float32)
    block = block[norms[block] > 0]
    own = csr_matrix((np.ones(len(block), np.float32), (np.arange(len(block)), block)), shape=(len(block), len(norms)))
    items, scores = top_n(unit, unit[block], n, own=own, excluded=np.flatnonzero(norms == 0))
    return _flat(block, items, scores, scores > FILTERED)


def sparse_neighbours(features: csr_matrix, block: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest items of a block by cosine, for sparse rows of unit length, features (n_items, n_features); items that share no feature are not neighbours."""
    products = (features[block] @ features.T).tocsr()
    items = np.full((len(block), n), -1, np.int32)
    scores = np.zeros((len(block), n), np.float32)
    for row, own in enumerate(block):
        span = slice(products.indptr[row], products.indptr[row + 1])
        numbers, values = products.indices[span], products.data[span]
        is_other = numbers != own
        numbers, values = numbers[is_other], values[is_other]
        if len(numbers) > n:
            nearest = near_best(values, n)
            numbers, values = numbers[nearest], values[nearest]
        order = np.lexsort((numbers, -values))[:n]
        items[row, : len(order)], scores[row, : len(order)] = numbers[order], values[order]
    return _flat(block, items, scores, items >= 0)


def unit_rows(matrix: csr_matrix, dtype: type = np.float64) -> csr_matrix:
    """Return the rows at unit length, scaled by numbers of the dtype; a row of zeros stays."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), float).ravel())
    return csr_matrix(diags_array(np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0).astype(dtype)) @ matrix)


def _flat(block: np.ndarray, items: np.ndarray, scores: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers = np.broadcast_to(block[:, None], items.shape)[kept]
    neighbours, cosines = items[kept], np.clip(scores[kept].astype(np.float64), -1.0, 1.0)
    order = np.lexsort((neighbours, -cosines, numbers))
    return numbers[order], neighbours[order], cosines[order]
