"""Rankers order a list: each folds a history in, and scores every item by a sum over that history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, Protocol

import numpy as np

from jobs.kernels.histories import Histories, History
from jobs.kernels.selection import near_best
from jobs.kernels.spans import owners
from jobs.kernels.weights import ItemWeights, Terms

FLOAT32_NOISE = 1e-6  # relative: a few sums in float32


class Part(Protocol):
    """An item side that scores. score_i = bias_i + sum over the history of contribution_ji, exactly, for every item i.

    What `fold_in` returns is the user, whole: no later call needs the history again.
    """

    @property
    def n_items(self) -> int: ...

    @property
    def untrained(self) -> np.ndarray:
        """item_nums (m,) that it knows nothing about, and so may not place."""

    def fold_in(self, history: History) -> Any:
        """Return the user of a history that is not empty."""

    def all_scores(self, histories: Histories) -> np.ndarray:
        """Return the score of every item for each history, (u, n_items) float32: good for comparing hyper-parameters, not for showing."""

    def add_scores(self, users: list[Any], factor: float, total: np.ndarray) -> np.ndarray:
        """Add factor times the score of every item to total (u, n_items) float32.

        The sums are good for choosing candidates, not for showing.

        Returns
        -------
        (u,) by how much each user's sums may be off
        """

    def biases(self, targets: np.ndarray) -> np.ndarray:
        """Return what targets (k,) score whatever the history, (k,) float64."""

    def scores(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Exact scores of targets (k,), float64, each computed by itself: equal items get equal scores."""

    def contributions(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Share of each history row in the score of each target, (n, k) float64."""


class Ranker(Part, Protocol):
    """A part that can order a list alone."""

    def candidates(self, histories: Histories, users: list[Any], n: int, excluded: np.ndarray) -> list[np.ndarray]:
        """item_nums that can be among the n best of each user, neither in the history nor in excluded (m,)."""


class ByTerms:
    """The scores and contributions of a Ranker whose user is the terms of all sums over the history."""

    def candidates(self, histories: Histories, users: list[Terms], n: int, excluded: np.ndarray) -> list[np.ndarray]:
        """All that reach the n-th best score; items that the history says nothing of are not among them."""
        return [near_best(_left(user.all_scores(), histories.user(k).items, excluded), n) for k, user in enumerate(users)]

    def add_scores(self, users: list[Terms], factor: float, total: np.ndarray) -> np.ndarray:
        for row, user in zip(total, users):
            row += factor * user.all_scores()
        return np.zeros(len(users))

    def biases(self, targets: np.ndarray) -> np.ndarray:
        return np.zeros(len(targets))

    def scores(self, user: Terms, targets: np.ndarray) -> np.ndarray:
        return user.scores(targets)

    def contributions(self, user: Terms, targets: np.ndarray) -> np.ndarray:
        return user.contributions(targets)


@dataclass(frozen=True)
class WeightRanker(ByTerms):
    """An item-by-item model as a Ranker. The weight of a history row is its strength times its recency."""

    matrix: ItemWeights
    half_life: float = math.inf

    @property
    def n_items(self) -> int:
        return self.matrix.n_items

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items that no row reaches: nothing that anybody could have would recommend them."""
        reached = np.zeros(self.matrix.n_items, bool)
        for start in range(0, len(self.matrix.indices), 1 << 22):
            reached[self.matrix.indices[start : start + (1 << 22)]] = True
        return np.flatnonzero(~reached)

    def fold_in(self, history: History) -> Terms:
        return self.matrix.terms(history.items, history.strengths * history.recency(self.half_life))

    def all_scores(self, histories: Histories) -> np.ndarray:
        rows = histories.weighted(self.n_items, self.half_life)
        return np.asarray((rows @ self.matrix.rows(0, self.n_items)).todense(), np.float32)


@dataclass(frozen=True)
class OwnFrequency(ByTerms):
    """The user's own frequency, by which what they had often and lately comes again: a diagonal, which scores the items of a history alone.

        score_j = n_j t_j w_j        n_j how often, t_j = 0.5 ** (moments since / half_life), w_j own_weights

    own_weights (n_items,) float64 tell which items people come back to; where histories have no counts every row counts once.
    """

    own_weights: np.ndarray
    half_life: float = math.inf

    @property
    def n_items(self) -> int:
        return len(self.own_weights)

    @cached_property
    def untrained(self) -> np.ndarray:
        return np.flatnonzero(self.own_weights == 0)

    def fold_in(self, history: History) -> Terms:
        values = self._values(history.items, history.counts, history.recency(self.half_life))
        return Terms(np.ones(history.n, np.int64), history.items, values, self.n_items)

    def all_scores(self, histories: Histories) -> np.ndarray:
        scores = np.zeros((len(histories), self.n_items), np.float32)
        values = self._values(histories.items, histories.counts, histories.recency(self.half_life))
        scores[owners(histories.indptr), histories.items] = values
        return scores

    def _values(self, items: np.ndarray, counts: np.ndarray | None, recency: np.ndarray) -> np.ndarray:
        return (1.0 if counts is None else counts) * recency * np.asarray(self.own_weights)[items]


@dataclass(frozen=True)
class Blend:
    """A weighted sum of parts; linear in the history as they are."""

    parts: tuple[tuple[float, Part], ...]

    @property
    def n_items(self) -> int:
        return self.parts[0][1].n_items

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items that no part knows about."""
        items = self.parts[0][1].untrained
        for _, part in self.parts[1:]:
            items = np.intersect1d(items, part.untrained)
        return items

    def fold_in(self, history: History) -> tuple[Any, ...]:
        return tuple(ranker.fold_in(history) for _, ranker in self.parts)

    def all_scores(self, histories: Histories) -> np.ndarray:
        return cast(np.ndarray, sum(np.float32(factor) * part.all_scores(histories) for factor, part in self.parts))

    def candidates(self, histories: Histories, users: list[tuple[Any, ...]], n: int, excluded: np.ndarray) -> list[np.ndarray]:
        """Choose, from float32 scores of all items, those that may be among the n best of the sum, whatever place each part gives them.

        Items of which no part says anything are not among them.
        """
        total = np.zeros((len(users), self.n_items), np.float32)
        noise = self.add_scores(users, 1.0, total)
        return [near_best(_left(row, histories.user(k).items, excluded), n, noise=float(2 * noise[k])) for k, row in enumerate(total)]

    def add_scores(self, users: list[tuple[Any, ...]], factor: float, total: np.ndarray) -> np.ndarray:
        noise = sum(
            ranker.add_scores([user[place] for user in users], factor * share, total) for place, (share, ranker) in enumerate(self.parts)
        )
        return noise + FLOAT32_NOISE * np.maximum(total.max(axis=1, initial=0.0), -total.min(axis=1, initial=0.0))

    def biases(self, targets: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, sum(factor * ranker.biases(targets) for factor, ranker in self.parts))

    def scores(self, user: tuple[Any, ...], targets: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, sum(factor * ranker.scores(part, targets) for (factor, ranker), part in zip(self.parts, user)))

    def contributions(self, user: tuple[Any, ...], targets: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, sum(factor * ranker.contributions(part, targets) for (factor, ranker), part in zip(self.parts, user)))


def _left(scores: np.ndarray, has: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Set to -inf, in place, the scores of items that the user has, that are excluded, or that no part scored."""
    np.copyto(scores, -np.inf, where=scores == 0.0)
    scores[has], scores[excluded] = -np.inf, -np.inf
    return scores
