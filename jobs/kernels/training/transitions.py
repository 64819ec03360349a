"""Directed co-occurrence: what users turn to after an item, within their next few moments.

    W_ij = sum over users, rows of i and later rows of j, of discount ** (lag - 1)  / sqrt((n_i + d) (n_j + d)),   W_ii = 0
           lag = moments from the row of i to that of j, 1 <= lag <= lags;  n_i = rows of item i;  d = damping

Damping takes weight from pairs of items that few know, where one pair is chance.

All rows with one timestamp are one moment: order inside it is not information, so it makes no pair. Rows of
users with one row a moment have `lags` pairs each; where moments hold thousands of rows, the pairs of one row
are cut at `most_pairs`: the nearest moments first, and of the moment that does not fit whole a part that
neither item numbers nor block sizes decide.

A miniature: one user with item 0 at moment 0 and items 1 and 2 at moment 1; discount 0.5, lags 2. The pairs
are 0 -> 1 and 0 -> 2, lag 1, each 1 / sqrt(1 * 1). With item 3 at moment 2 there are also 1 -> 3, 2 -> 3 and,
lag 2, 0 -> 3 with 0.5. Nothing leads from 1 to 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.weights import blocks_of, ItemWeights, pruned, stacked

BLOCK_ROWS = 1 << 20  # rows of users sorted at a time
BLOCK_PAIRS = 1 << 20  # pairs expanded at a time: some 80 bytes each
SHUFFLE_BITS = 30  # leaves 2 ** 33 moments


class _Ordered(NamedTuple):
    """Rows in the order of users and their moments.

    items (m,) int32; moments (m,) int64, those of two users further apart than any lag; first (m,) int64, the row at which a row's pairs
    begin, and n_pairs (m,) int64, how many there are.
    """

    items: np.ndarray
    moments: np.ndarray
    first: np.ndarray
    n_pairs: np.ndarray


def transitions(
    indptr: np.ndarray,
    items: np.ndarray,
    moments: np.ndarray,
    n_items: int,
    keep: int,
    *,
    lags: int = 10,
    discount: float = 0.8,
    damping: float = 0.0,
    most_pairs: int = 200,
    block_pairs: int = BLOCK_PAIRS,
    block_rows: int = BLOCK_ROWS,
) -> ItemWeights:
    """Count the keep strongest transitions from each item.

    Users are put in order in blocks of block_rows rows; then the pairs of some items at a time are expanded, added up and pruned, so that no
    matrix is ever held whole. Besides input and result some 50 bytes a row and 80 a pair of a block are needed.

    Parameters
    ----------
    indptr, items : (u + 1,), (m,) item_num by user
    moments : (m,) from 0, by user
    lags : the most moments between the two items of a transition
    discount : of each moment more, in (0, 1]
    damping : added to the counts that a transition is divided by
    most_pairs : of one row
    """
    if lags < 1 or most_pairs < 1 or not 0 < discount <= 1 or damping < 0:
        raise ValueError(
            "needs lags and most_pairs of 1 or more, a discount in (0, 1] and a damping of 0 or more, "
            f"not {lags}, {most_pairs}, {discount}, {damping}"
        )
    ordered = _in_order(indptr, items, moments, lags, most_pairs, block_rows)
    counts = np.bincount(items, minlength=n_items)
    damped = counts + float(damping)
    per_item = np.bincount(ordered.items, ordered.n_pairs, n_items).astype(np.int64)
    by_item = np.argsort(ordered.items, kind="stable")  # so that a span of items is a span of rows
    bounds = np.concatenate([[0], np.cumsum(counts)])

    def strongest(span: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = by_item[bounds[span.start] : bounds[span.stop]]
        total = csr_matrix((span.stop - span.start, n_items))
        for part in blocks_of(ordered.n_pairs[rows], block_pairs):
            total = total + _pairs(ordered, rows[part], span, n_items, lags, discount)
        total.data /= np.sqrt(np.repeat(damped[span], np.diff(total.indptr)) * damped[total.indices])
        return pruned(total, keep)

    return stacked(strongest(span) for span in blocks_of(per_item, block_pairs))


def _in_order(indptr: np.ndarray, items: np.ndarray, moments: np.ndarray, lags: int, most_pairs: int, block_rows: int) -> _Ordered:
    lengths = np.diff(indptr)
    parts, base = [], 0
    for span in blocks_of(lengths, block_rows):
        rows = slice(indptr[span.start], indptr[span.stop])
        apart = base + _apart(lengths[span], moments[rows], lags)
        place = _shuffle(items[rows], moments[rows], np.repeat(lengths[span], lengths[span]))
        order = np.argsort(apart << SHUFFLE_BITS | place)
        apart = apart[order]
        first = np.searchsorted(apart, apart, "right")
        n_pairs = np.minimum(np.searchsorted(apart, apart + lags, "right") - first, most_pairs)
        parts.append(_Ordered(items[rows][order], apart, first + rows.start, n_pairs))
        base = apart[-1] + lags + 1 if len(apart) else base
    if not parts:
        return _Ordered(np.zeros(0, np.int32), *(np.zeros(0, np.int64),) * 3)
    return _Ordered(*(np.concatenate(column) for column in zip(*parts)))


def _apart(lengths: np.ndarray, moments: np.ndarray, lags: int) -> np.ndarray:
    """Moments numbered over all users, each user's more than `lags` after the last of the user before."""
    some = np.flatnonzero(lengths)
    starts = np.cumsum(lengths[some]) - lengths[some]
    taken = np.maximum.reduceat(moments, starts) + 1 + lags if len(some) else np.zeros(0, np.int64)
    return moments + np.repeat(np.cumsum(taken) - taken, lengths[some])


def _shuffle(items: np.ndarray, moments: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Draw a place for each row among those of its moment, (m,) int64 below 2 ** SHUFFLE_BITS, from what the rows are alone.

    It varies from user to user, so that what is cut off is not always the same items (Steele et al. 2014, splitmix64).
    """
    z = items.astype(np.uint64)
    z += (moments.astype(np.uint64) << np.uint64(32)) + (lengths.astype(np.uint64) << np.uint64(44))
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(64 - SHUFFLE_BITS)).astype(np.int64)


def _pairs(ordered: _Ordered, rows: np.ndarray, span: slice, n_items: int, lags: int, discount: float) -> csr_matrix:
    """Sum the discounts of the pairs that begin at rows, whose items are in span: (items of span, n_items) float64.

    A pair is one number, cell and lag: sorting numbers is the fastest way to bring equal cells together, and adds each cell's lags in their
    order.
    """
    n_pairs = ordered.n_pairs[rows]
    ends = np.cumsum(n_pairs)
    later = np.arange(ends[-1] if len(ends) else 0) + np.repeat(ordered.first[rows] - (ends - n_pairs), n_pairs)
    lag_bits = np.int64(lags).item().bit_length()
    lag = ordered.moments[later] - np.repeat(ordered.moments[rows], n_pairs)
    keys = np.repeat((ordered.items[rows] - np.int64(span.start)) * n_items, n_pairs) + ordered.items[later]
    keys = np.sort(keys << lag_bits | lag)
    cells = keys >> lag_bits
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    powers = discount ** (np.arange(lags + 1) - 1.0)
    sums = np.add.reduceat(powers[keys & ((1 << lag_bits) - 1)], starts) if len(starts) else np.zeros(0)
    i, j = np.divmod(cells[starts], n_items)
    is_other = np.flatnonzero(i + span.start != j)
    i, j, sums = i[is_other], j[is_other].astype(np.int32), sums[is_other]
    indptr = np.searchsorted(i, np.arange(span.stop - span.start + 1))
    return csr_matrix((sums, j, indptr), shape=(span.stop - span.start, n_items))
