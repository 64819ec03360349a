"""Item-by-item models as item sides: a sparse matrix that scores a history, and splits the score over it.

    score_i = sum_j h_j W_ji        h_j what history item j weighs, W_ji what it then adds to item i

so the contribution of j to i is the term h_j W_ji itself. Neighbours, EASE, transitions and any weighted sum
of them have this form. Only the rows of the history are read, so the matrix may stay on disk, memory-mapped.

A miniature: W has the rows 0: {1: 0.5, 2: 0.1}, 1: {0: 0.5}, 2: {}. The history {0: 1.0, 1: 0.2} scores item
0 with 0.2 * 0.5 = 0.1, item 1 with 0.5 and item 2 with 0.1: the only candidate is item 2, all of it because
of item 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

KEPT = 4_000_000
KEPT_A_ROW = (200, 1_000)
BLOCK_CELLS = 1 << 22  # stored cells worked on at a time: some 50 MiB


@dataclass(frozen=True)
class ItemWeights:
    """W (n_items, n_items) as CSR: indptr (n_items + 1,) int64, indices (nnz,) int32, data (nnz,) float32.

    Row j says what history item j adds to each target. In a row the indices ascend and none repeats.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray

    @property
    def n_items(self) -> int:
        return len(self.indptr) - 1

    def rows(self, start: int, stop: int) -> csr_matrix:
        """Rows start:stop as (stop - start, n_items), sharing memory."""
        indptr = np.asarray(self.indptr[start : stop + 1])
        span = slice(indptr[0], indptr[-1])
        arrays = self.data[span], self.indices[span], indptr - indptr[0]
        return csr_matrix(arrays, shape=(stop - start, self.n_items))

    def terms(self, items: np.ndarray, weights: np.ndarray) -> Terms:
        """Return what a history of items (n,) item_num with weights (n,) adds to each target; the only read of the matrix."""
        items = np.asarray(items, np.int64)
        starts, stops = np.asarray(self.indptr)[items], np.asarray(self.indptr)[items + 1]
        indices, data = np.asarray(self.indices), np.asarray(self.data)  # a memmap slices ten times slower
        spans = list(map(slice, starts.tolist(), stops.tolist()))
        lengths = stops - starts
        targets = np.concatenate([indices[:0], *map(indices.__getitem__, spans)])
        values = np.concatenate([data[:0], *map(data.__getitem__, spans)])
        return Terms(lengths, targets, values * np.repeat(np.asarray(weights, np.float64), lengths), self.n_items)


class Terms(NamedTuple):
    """h_j W_ji of one history, row after row: lengths (n,) how many of each history row, targets (t,) int32, values (t,) float64.

    Sums over it are taken in the order of the history, so that a score is the same float whichever targets are asked for.
    """

    lengths: np.ndarray
    targets: np.ndarray
    values: np.ndarray
    n_items: int

    def all_scores(self) -> np.ndarray:
        """Scores of all items, (n_items,) float64."""
        sums = np.bincount(self.targets, self.values, self.n_items)
        return sums.astype(np.float64, copy=False)  # without any term bincount gives whole numbers

    def scores(self, targets: np.ndarray) -> np.ndarray:
        """Scores of some items, (k,) float64."""
        terms, columns, asked = self._of(targets)
        return np.bincount(columns, self.values[terms], max(len(targets), 1))[asked]

    def contributions(self, targets: np.ndarray) -> np.ndarray:
        """h_j W_ji for each history row j and target i, (n, k) float64: what `scores` sums over j."""
        terms, columns, asked = self._of(targets)
        shares = np.zeros((len(self.lengths), len(targets)))
        rows = np.searchsorted(np.cumsum(self.lengths), terms, "right")
        shares[rows, columns] = self.values[terms]
        return shares[:, asked]

    def _of(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which terms go to the targets, (t',), and to which, (t',); and where each target is found, (k,), itself or its twin."""
        targets = np.asarray(targets, np.int64)
        place = np.full(self.n_items, -1, np.int32)
        place[targets] = np.arange(len(targets))
        columns = place[self.targets]
        terms = np.flatnonzero(columns >= 0)
        return terms, columns[terms], place[targets]


def kept_a_row(n_items: int) -> int:
    """Weights worth keeping of each row: a small catalogue is hardly pruned, and a large one fits."""
    return int(np.clip(KEPT // max(n_items, 1), *KEPT_A_ROW))


def recency(since: np.ndarray, half_life: float | None) -> np.ndarray:
    """Return what rows still count, 0.5 ** (since / half_life), (n,) float64; 1 without a half-life.

    Parameters
    ----------
    since : (n,) moments before the last of their history
    """
    if half_life is None or half_life == np.inf:
        return np.ones(len(since))
    if not half_life > 0:
        raise ValueError(f"a half-life is a number of moments above 0, not {half_life}")
    return 0.5 ** (since / half_life)


def combined(terms: Sequence[tuple[float, ItemWeights]], n_items: int, keep: int, *, block_cells: int = BLOCK_CELLS) -> ItemWeights:
    """Sum factor_t W_t, and keep the entries of each row that are largest in size: a blend that is still linear.

    Rows are added in blocks of block_cells stored cells, so that besides the result some 50 MiB are needed however large the terms are.
    """
    lengths = np.zeros(n_items, np.int64)
    for _, weights in terms:
        lengths += np.diff(weights.indptr)
    return stacked(_combined_rows(terms, span, n_items, keep) for span in blocks_of(lengths, block_cells))


def _combined_rows(
    terms: Sequence[tuple[float, ItemWeights]], span: slice, n_items: int, keep: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    total = csr_matrix((span.stop - span.start, n_items))
    for factor, weights in terms:
        total = total + weights.rows(span.start, span.stop).astype(np.float64) * factor
    return pruned(total, keep)


def blocks_of(costs: np.ndarray, most: int) -> Iterator[slice]:
    """Yield consecutive slices of 0:len(costs), each as long as its costs sum to at most `most`, and of one row at least."""
    ends = np.cumsum(costs)
    start = 0
    while start < len(costs):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + most, "right")), start + 1)
        yield slice(start, stop)
        start = stop


def strongest(dense_block: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows (r, n_items) as CSR arrays with the keep entries of each row that are largest in size; ties go to the lower item."""
    columns = np.arange(dense_block.shape[1], dtype=np.int32)
    return concatenated(largest(columns, row, keep) for row in dense_block)


def pruned(matrix: csr_matrix, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keep largest entries of each sparse row, as `strongest` does of dense ones.

    Their indices may be in any order, but none may repeat in a row.
    """
    bounds = matrix.indptr.tolist()
    spans = [slice(start, stop) for start, stop in zip(bounds, bounds[1:])]
    return concatenated(largest(matrix.indices[span], matrix.data[span], keep) for span in spans)


def largest(indices: np.ndarray, values: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the keep entries largest in size, ordered by index; ties go to the lower index, and zeros are never kept.

    Sizes are compared as float32, as they are stored: what rounding made equal is a tie.
    """
    values = values.astype(np.float32)
    chosen = np.flatnonzero(values != 0)  # first, because selecting among many equal zeros is slow
    if len(chosen) > keep:
        sizes = np.abs(values[chosen])
        least = np.partition(sizes, len(sizes) - keep)[len(sizes) - keep] if keep > 0 else np.inf
        better, ties = chosen[np.flatnonzero(sizes > least)], chosen[np.flatnonzero(sizes == least)]
        ties = ties[np.argsort(indices[ties], kind="stable")][: max(keep - len(better), 0)]
        chosen = np.concatenate([better, ties])
    chosen = chosen[np.argsort(indices[chosen], kind="stable")]
    return indices[chosen].astype(np.int32), values[chosen]


def concatenated(rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (indices, values) of consecutive rows as the CSR arrays indptr int64, indices int32, data float32."""
    rows = list(rows)
    indptr = np.concatenate([[0], np.cumsum([len(indices) for indices, _ in rows])]).astype(np.int64)
    indices = np.concatenate([np.zeros(0, np.int32), *(indices for indices, _ in rows)])
    return indptr, indices, np.concatenate([np.zeros(0, np.float32), *(values for _, values in rows)])


def stacked(blocks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> ItemWeights:
    """CSR arrays of consecutive blocks of rows as one matrix."""
    blocks = list(blocks)
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(indptr) for indptr, _, _ in blocks)])
    return ItemWeights(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int32), *(indices for _, indices, _ in blocks)]),
        np.concatenate([np.zeros(0, np.float32), *(data for _, _, data in blocks)]),
    )
