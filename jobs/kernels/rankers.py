"""What orders a list: anything that folds a history in, and scores every item by a sum over that history."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from jobs.kernels.histories import Histories, History


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

    def scores(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Exact scores of targets (k,), float64, each computed by itself: equal items get equal scores."""

    def contributions(self, user: Any, targets: np.ndarray) -> np.ndarray:
        """Share of each history row in the score of each target, (n, k) float64."""
