"""The n best items of each query by inner product, leaving out what each query has and what nobody may get."""

from __future__ import annotations

import numpy as np
from implicit.cpu.topk import topk
from scipy.sparse import csr_matrix

FILTERED = np.finfo(np.float32).min / 2


def top_n(
    item_factors: np.ndarray,
    queries: np.ndarray,
    n: int,
    *,
    own: csr_matrix | None = None,
    excluded: np.ndarray | None = None,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of each query, best first: item_num (u, k) int32 and score (u, k) float32, k = min(n, n_items).

    item_factors (n_items, f) float32, queries (u, f) float32, own (u, n_items) with a non-zero for each item to leave out
    of that row, excluded (m,) item_nums to leave out of every row. A place that cannot be filled has a score below FILTERED.
    """
    k = min(n, len(item_factors))
    if k == 0 or len(queries) == 0:
        return np.zeros((len(queries), k), np.int32), np.zeros((len(queries), k), np.float32)
    items, scores = topk(
        item_factors,
        np.ascontiguousarray(queries, np.float32),
        k,
        filter_query_items=own,
        filter_items=None if excluded is None or len(excluded) == 0 else excluded.astype(np.int32),
        num_threads=n_threads,
    )
    return items, scores
