"""Judge scorers by validation users, and choose among several.

A part is tuned by what it finds alone, and what forgets more has to show that it finds more. Of blends, and of models to serve, whose
nDCG is within its standard error of the best, and within a tenth of it, the one is taken whose lists have the fewest rows that users
would rate below their own mean. A fifth of the rows is few enough: fewer than that cost more of what users go on to like than they spare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jobs.kernels.evaluation.metrics import counted_mean, hit_table, ndcg, rmse
from jobs.kernels.factors import ExplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.relevance import damped_means, is_liked
from jobs.kernels.selection import best_among, of_candidates, top
from jobs.kernels.spans import owners
from jobs.machine.progress import Progress
from jobs.models.base.contract import Scorer, TrainingData, Validation
from jobs.models.base.disliked import by_biases, Disliked
from jobs.models.base.scoring import predicted, Rater
from schemas.setting_groups import ALL, OFF, ONLY

DEPTH = 10
NEAR = 0.1  # of the best's nDCG, at most: the standard error over a few dozen users is a third of it
FEW = 0.2  # of the rows of lists
MOST_USERS = 2_000
CELLS = 1 << 24  # scores held at a time: 64 MiB


class Tried(NamedTuple):
    """The worth of one setting to users (u,): nDCG@10, NaN if nothing is relevant, and the share of rows below the mean."""

    ndcg: np.ndarray
    below: np.ndarray

    @property
    def value(self) -> float:
        return counted_mean(self.ndcg)

    def is_no_worse(self, than: Tried) -> bool:
        """Tell whether the other finds more by no more than the standard error of the difference."""
        behind = than.ndcg - self.ndcg
        return not counted_mean(behind) > standard_error(behind)


def standard_error(values: np.ndarray) -> float:
    """Compute the standard error of a mean over users (u,), NaN not counted; infinite for fewer than two."""
    counted = values[~np.isnan(values)]
    return float(counted.std(ddof=1)) / len(counted) ** 0.5 if len(counted) > 1 else math.inf


def preferred(tried: Sequence[Tried]) -> int:
    """Return which of several settings to take: of those near the best the one with the fewest rows below the mean, where FEW count as
    none. Ties go to the better, then to the first."""
    best = max(tried, key=lambda one: one.value)
    least = best.value - min(standard_error(best.ndcg), NEAR * best.value)
    near = [k for k, one in enumerate(tried) if one is best or one.value >= least]
    return min(near, key=lambda k: (max(round(float(tried[k].below.mean()), 9), FEW), -tried[k].value))


class Judge:
    """Some validation users, spread evenly over all, and how well a scorer ranks what was kept out of their histories: all rows of
    it, or with the users' means (u,) of ratings those that were liked; with a rater too, how much of their lists they would not."""

    def __init__(
        self,
        validation: Validation,
        n_items: int,
        *,
        means: np.ndarray | None = None,
        rater: ExplicitFactors | None = None,
        most_users: int = MOST_USERS,
        repeats: str = OFF,
    ) -> None:
        n = len(validation.kept)
        users = np.unique(np.linspace(0, n - 1, min(n, most_users)).astype(np.int64))
        self.kept, self.held = validation.kept.take(users), validation.held.take(users)
        self.relevant = self.held if means is None else self.held.select(is_liked(self.held, means[users]))
        self.candidates = None if validation.candidates is None else validation.candidates[users]
        self.disliked = None if rater is None or means is None else Disliked(rater, self.kept, means[users])
        self.n_items, self.repeats = n_items, repeats
        self._progress = Progress("search on validation users", unit="settings tried")

    def __len__(self) -> int:
        return len(self.kept)

    def blocks(self) -> Iterator[tuple[slice, Histories, Histories, np.ndarray | None]]:
        """Users some at a time: which, what is left to them, what is relevant of what was kept out, and their candidates or None."""
        at_once = max(1, CELLS // self.n_items)
        for start in range(0, len(self), at_once):
            stop = min(start + at_once, len(self))
            yield (
                slice(start, stop),
                self.kept.block(start, stop),
                self.relevant.block(start, stop),
                None if self.candidates is None else self.candidates[start:stop],
            )

    def ndcg(self, score: Scorer) -> float:
        """Return the mean nDCG@10 over the users."""
        return self.ndcgs(lambda histories: (score(histories),))[0]

    def ndcgs(self, scores_of: Callable[[Histories], Iterable[np.ndarray]]) -> list[float]:
        """Return the nDCG of scorers that share work, which give their scores one after another."""
        return [tried.value for tried in self._tried(scores_of)]

    def tried(self, score: Scorer) -> Tried:
        return self._tried(lambda histories: (score(histories),))[0]

    def _tried(self, scores_of: Callable[[Histories], Iterable[np.ndarray]]) -> list[Tried]:
        values = []
        for users, kept, held, candidates in self.blocks():
            of_block = []
            for scores in scores_of(kept):
                if candidates is None:
                    lists = top(listable(scores, kept, self.repeats), DEPTH)
                else:
                    lists = best_among(of_candidates(scores, candidates), candidates, held.indptr, held.items, DEPTH)
                below = np.zeros(len(kept)) if self.disliked is None else self.disliked.shares(lists, users)
                of_block.append((ndcg(hit_table(lists, held.indptr, held.items, self.n_items), np.diff(held.indptr)), below))
            values.append(of_block)
        tried = [Tried(*map(np.concatenate, zip(*of))) for of in zip(*values)]
        self._progress.add(len(tried))
        return tried

    def rmse(self, rater: Rater) -> float:
        error = rmse(predicted(rater, self.kept, self.held.indptr, self.held.items), self.held.ratings)
        self._progress.add(1)
        return error


def judge_of(data: TrainingData, *, rater: ExplicitFactors | None = None, most_users: int = MOST_USERS) -> Judge | None:
    """Return the judge of the validation users; None if hyper-parameters were chosen before, or there are no such users. Where what is
    liked counts, rows below the mean are told by the rater, or by the items' means."""
    validation = data.validation() if data.validation is not None and not data.chosen else None
    if validation is None or len(validation.kept) == 0:
        return None
    means = means_of(data, validation.kept)
    if means is not None and rater is None:
        rater = by_biases(data.n_ratings, data.rating_sum, data.rating_scale, data.settings.bias_damping)
    return Judge(validation, data.n_items, means=means, rater=rater, most_users=most_users, repeats=data.settings.repeats)


def means_of(data: TrainingData, histories: Histories) -> np.ndarray | None:
    """Return the users' damped means (u,), at or above which a row is liked; None if every row is relevant."""
    if data.settings.relevance == ALL or data.rating_scale is None:
        return None
    return damped_means(histories, data.mean_rating, data.settings.bias_damping)


def listable(scores: np.ndarray, kept: Histories, repeats: str) -> np.ndarray:
    """Set scores (u, n_items), in place, to -inf for what no list of the users may have: what they have, or with ONLY all else."""
    own = owners(kept.indptr), kept.items
    if repeats == ONLY:
        left = scores[own]
        scores[:] = -np.inf
        scores[own] = left
    elif repeats == OFF:
        scores[own] = -np.inf
    return scores
