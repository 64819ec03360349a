"""Histories of a block of users, as arrays: the only thing that a user is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.spans import owners, places
from jobs.kernels.weights import recency


class History(NamedTuple):
    """One user's rows of Histories."""

    items: np.ndarray
    strengths: np.ndarray
    ratings: np.ndarray
    moments: np.ndarray
    counts: np.ndarray | None = None

    @property
    def n(self) -> int:
        return len(self.items)

    @property
    def rated(self) -> tuple[np.ndarray, np.ndarray]:
        """Items and ratings of the rows that have a rating: what a model of ratings sees of the user."""
        is_rated = ~np.isnan(self.ratings)
        return self.items[is_rated], self.ratings[is_rated]

    def recency(self, half_life: float) -> np.ndarray:
        """Return what each row still counts, (n,) in (0, 1]: 0.5 ** (moments since / half_life); an infinite half-life forgets nothing."""
        return recency(self.moments.max(initial=0) - self.moments, half_life)


class Histories(NamedTuple):
    """u users one after another: user k has the rows indptr[k]:indptr[k + 1].

    indptr (u + 1,) int64, items (m,) int32 item_num, strengths (m,) float64 > 0 for the implicit models, ratings (m,)
    float64, NaN if there is none, moments (m,) int64: which of the user's moments a row belongs to, counted from 0; rows of
    one timestamp are one moment, since the order inside it says nothing; counts (m,) int64: how often the user had the item, None
    where nobody asks for that. Two users, the first with item 3 and later item 5,
    the second with item 3: indptr [0, 2, 3], items [3, 5, 3], moments [0, 1, 0].
    """

    indptr: np.ndarray
    items: np.ndarray
    strengths: np.ndarray
    ratings: np.ndarray
    moments: np.ndarray
    counts: np.ndarray | None = None

    def __len__(self) -> int:  # number of users, not of fields
        return len(self.indptr) - 1

    def user(self, k: int) -> History:
        rows = slice(self.indptr[k], self.indptr[k + 1])
        return History(*self._columns(rows))

    def block(self, start: int, stop: int) -> Histories:
        """Users start..stop, as views of the same arrays."""
        rows = slice(self.indptr[start], self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - self.indptr[start]
        return Histories(indptr, *self._columns(rows))

    def select(self, keep: np.ndarray) -> Histories:
        """Return the users with only the rows where keep (m,) is true."""
        before = np.concatenate([[0], np.cumsum(keep)])
        return Histories(before[self.indptr], *self._columns(keep))

    def take(self, users: np.ndarray) -> Histories:
        """Only these users (k,), by position, in the order given."""
        lengths = np.diff(self.indptr)[users]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = places(indptr) + np.repeat(self.indptr[users], lengths)
        return Histories(indptr, *self._columns(rows))

    def _columns(self, rows: slice | np.ndarray) -> Iterator[Any]:
        return (None if column is None else column[rows] for column in self[1:])

    def emptied(self) -> Histories:
        """Return as many users who have nothing."""
        return self.select(np.zeros(len(self.items), bool))

    def renumbered(self, numbers: np.ndarray) -> Histories:
        """Return the users with item numbers[i] for item i.

        Rows of items that become -1 are left out, and moments are counted again over what is left.

        Parameters
        ----------
        numbers : (n_items,) ascending but for -1
        """
        known = self.select(numbers[self.items] >= 0)
        items = numbers[known.items].astype(np.int32)
        moments = moments_of(known.moments, owners(known.indptr))
        return Histories(known.indptr, items, known.strengths, known.ratings, moments, known.counts)

    def recency(self, half_life: float) -> np.ndarray:
        """Return what each row of every user still counts, (m,)."""
        lengths, last = np.diff(self.indptr), np.zeros(len(self), np.int64)
        some = lengths > 0
        if some.any():
            last[some] = np.maximum.reduceat(self.moments, self.indptr[:-1][some])
        return recency(np.repeat(last, lengths) - self.moments, half_life)

    def weighted(self, n_items: int, half_life: float) -> csr_matrix:
        """(u, n_items) float32, what each interaction weighs when a list is computed: its strength, as far as it still counts."""
        weights = (self.strengths * self.recency(half_life)).astype(np.float32)
        return csr_matrix((weights, self.items, self.indptr), shape=(len(self), n_items))

    def matrix(self, n_items: int) -> csr_matrix:
        """(u, n_items), 1 where the user has the item."""
        ones = np.ones(len(self.items), np.float32)
        return csr_matrix((ones, self.items, self.indptr), shape=(len(self), n_items))


def concatenated(blocks: Sequence[Histories]) -> Histories:
    """Put the users of several blocks one block after another."""
    before = np.cumsum([0] + [len(block.items) for block in blocks])
    indptr = np.concatenate([[0], *(block.indptr[1:] + start for block, start in zip(blocks, before))]).astype(np.int64)
    columns: Iterator[Any] = zip(*(block[1:] for block in blocks))
    joined: list[Any] = [None if parts[0] is None else np.concatenate(parts) for parts in columns]
    return Histories(indptr, *joined)


def moments_of(times: np.ndarray, user_of: np.ndarray) -> np.ndarray:
    """Return the moments of rows, (m,) int64: how many distinct earlier times their user has. times (m,), user_of (m,), rows in any order."""
    order = np.lexsort((times, user_of))
    users, ordered = user_of[order], times[order]
    is_first = np.concatenate([[True], users[1:] != users[:-1]]) if len(users) else np.zeros(0, bool)
    is_new = is_first | np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(users) else is_first
    counted = np.cumsum(is_new)
    moments = np.empty(len(times), np.int64)
    moments[order] = counted - counted[is_first][np.cumsum(is_first) - 1]
    return moments


def strength(ratings: np.ndarray, weights: np.ndarray, *, low: float | None, high: float | None) -> np.ndarray:
    """Strength of interactions, (m,) float64 in (0, 1] for ratings, >= 0 and 1 for weight 1 for implicit feedback.

    A rating counts by its place on the scale, the lowest still a little: that somebody chose an item says something even
    where it disappointed. An event, a row without a rating (NaN) where others have one, counts as the middle of the scale.
    A weight counts by its logarithm: a hundred bought at once is not a hundred choices.
    """
    if low is None or high is None:
        return np.log2(1.0 + weights)
    return 0.25 + 0.75 * np.where(np.isnan(ratings), 0.5, (ratings - low) / max(high - low, 1e-9))


def one_history(
    item_ids: np.ndarray,
    ids: Sequence[Any],
    ratings: Sequence[float | None],
    weights: Sequence[float],
    times: Sequence[int | None],
    *,
    low: float | None,
    high: float | None,
    counts: Sequence[int] | None = None,
) -> Histories:
    """One user's rows, as a database gives them, as Histories of one user.

    item_ids (n_items,) in ascending order; ids, ratings and times (None if there is none), weights and counts one a row, in any
    order. A row whose item is not among item_ids is left out: the item side knows nothing of it.
    """
    wanted = np.asarray(ids, item_ids.dtype if item_ids.dtype.kind != "U" else None)
    if len(wanted) == 0 or len(item_ids) == 0:
        nothing = np.zeros(0, np.int64)
        return Histories(np.array([0, 0]), np.zeros(0, np.int32), np.zeros(0), np.zeros(0), nothing, None if counts is None else nothing)
    numbers = np.searchsorted(item_ids, wanted)
    rows = np.flatnonzero(item_ids[np.minimum(numbers, len(item_ids) - 1)] == wanted)
    rows = rows[np.argsort(numbers[rows], kind="stable")]
    given = np.array([np.nan if rating is None else rating for rating in ratings], float)[rows]
    moments = moments_of(np.array([0 if time is None else time for time in times], np.int64)[rows], np.zeros(len(rows), np.int64))
    strengths = strength(given, np.array(weights, float)[rows], low=low, high=high)
    counted = None if counts is None else np.array(counts, np.int64)[rows]
    return Histories(np.array([0, len(rows)]), numbers[rows].astype(np.int32), strengths, given, moments, counted)
