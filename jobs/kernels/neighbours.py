"""Nearest neighbours of items by cosine."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags_array

from jobs.kernels.selection import near_best
from jobs.kernels.topn import FILTERED, top_n


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
