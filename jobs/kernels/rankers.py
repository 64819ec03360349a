"""What orders a list: anything that folds a history in, and scores every item by a sum over that history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from jobs.kernels.histories import Histories, History
from jobs.kernels.weights import ItemWeights


USERS_AT_ONCE = 32
FLOAT32_NOISE = 1e-5


class Ranker(Protocol):
    """An item side that ranks. score_i = sum over the history of contribution_ji, exactly, for every item i.

    What `fold` returns is the user, whole: no later call needs the history again.
    """

    @property
    def untrained(self) -> np.ndarray:
        """item_nums (m,) that it knows nothing about, and so may not place."""

    def fold(self, history: History) -> Any:
        """The user that this history is; it is not empty."""

    def candidates(self, histories: Histories, users: list[Any], n: int, barred: np.ndarray) -> list[np.ndarray]:
        """item_nums that can be among the n best of each user, neither in the history nor in barred (m,)."""

    def all_scores(self, users: list[Any]) -> np.ndarray:
        """Scores of every item for some users, (u, n_items) float32: good for choosing candidates, not for showing."""

    def scores(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Exact scores of targets (k,), float64, each computed by itself: equal items get equal scores."""

    def contributions(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Share of each history row in the score of each target, (n, k) float64."""


class Weighed(NamedTuple):
    """A user of an item-by-item model: the items of the history, and what each still weighs."""

    items: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class WeightRanker:
    """An item-by-item model as a Ranker: the weight of a history row is its strength times its recency."""

    matrix: ItemWeights
    half_life: float = math.inf

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items that no row reaches: nothing that anybody could have would recommend them."""
        reached = np.zeros(self.matrix.n_items, bool)
        for start in range(0, len(self.matrix.indices), 1 << 22):
            reached[self.matrix.indices[start : start + (1 << 22)]] = True
        return np.flatnonzero(~reached)

    def fold(self, history: History) -> Weighed:
        return Weighed(history.items, history.strengths * history.recency(self.half_life))

    def candidates(self, histories: Histories, users: list[Weighed], n: int, barred: np.ndarray) -> list[np.ndarray]:
        """Exactly the n best, whoever shares the block; items that the history says nothing of are not among them."""
        return [self.matrix.candidates(user.items, user.weights, n, barred=barred)[0] for user in users]

    def all_scores(self, users: list[Weighed]) -> np.ndarray:
        return np.array([self.matrix.scores(user.items, user.weights) for user in users], np.float32)

    def scores(self, user: Weighed, targets: np.ndarray) -> np.ndarray:
        return self.matrix.scores(user.items, user.weights)[targets]

    def contributions(self, user: Weighed, targets: np.ndarray) -> np.ndarray:
        return self.matrix.contributions(user.items, user.weights, targets)


@dataclass(frozen=True)
class Blend:
    """A weighted sum of rankers; linear in the history as they are."""

    parts: tuple[tuple[float, Ranker], ...]

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items that no part knows about."""
        found = self.parts[0][1].untrained
        for _, ranker in self.parts[1:]:
            found = np.intersect1d(found, ranker.untrained)
        return found

    def fold(self, history: History) -> tuple[Any, ...]:
        return tuple(ranker.fold(history) for _, ranker in self.parts)

    def all_scores(self, users: list[tuple]) -> np.ndarray:
        parts = (
            np.float32(factor) * ranker.all_scores([user[place] for user in users])
            for place, (factor, ranker) in enumerate(self.parts)
        )
        return sum(parts)

    def candidates(self, histories: Histories, users: list[tuple], n: int, barred: np.ndarray) -> list[np.ndarray]:
        """From float32 scores of all items: those that may be among the n best of the sum, whatever place each part gives them.
        Items that no part says anything of are not among them."""
        found: list[np.ndarray] = []
        for start in range(0, len(users), USERS_AT_ONCE):
            for k, scores in enumerate(self.all_scores(users[start : start + USERS_AT_ONCE]), start):
                noise = FLOAT32_NOISE * np.abs(scores).max(initial=0.0)
                scores[scores == 0.0] = -np.inf
                scores[histories.user(k).items] = -np.inf
                scores[barred] = -np.inf
                least = np.partition(scores, len(scores) - n)[len(scores) - n] if n < len(scores) else -np.inf
                found.append(np.flatnonzero((scores >= least - noise) & (scores > -np.inf)).astype(np.int32))
        return found

    def scores(self, user: tuple, targets: np.ndarray) -> np.ndarray:
        return sum(factor * ranker.scores(part, targets) for (factor, ranker), part in zip(self.parts, user))

    def contributions(self, user: tuple, targets: np.ndarray) -> np.ndarray:
        return sum(factor * ranker.contributions(part, targets) for (factor, ranker), part in zip(self.parts, user))
