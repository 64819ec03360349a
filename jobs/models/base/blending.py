"""The weights and half-lives of a blend, learned on validation users: parts brought to one spread, and each in turn.

A term of a blend is a part with a half-life, and a part may have two: one that follows the last rows, and one with a long memory. Only
items that some part ranks high can reach a list, so each part nominates some, and the search looks at those alone; a term is scored
when a search first asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np

from jobs.kernels.evaluation.metrics import ndcg
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import LONG
from jobs.kernels.selection import top
from jobs.kernels.spans import owners
from jobs.models.base.contract import Scorer
from jobs.models.base.judge import DEPTH, Judge, listable, preferred, Tried
from jobs.models.base.search import HALF_LIVES, next_half_life, over_half_lives

NOMINATED = 100
NOMINATING = (5.0, math.inf)  # the half-lives at which parts nominate
STEPS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
FACTORS = (0.75, 1.5)  # a share may become, past the largest of STEPS too
FIRST_STEPS = (0.25, 0.5, 1.0, 2.0)  # of a term that is new to the blend
MOST_OF_A_PART = 2
ROUNDS = 4
SAMPLE_USERS = 500

Term = tuple[str, float]
Weights = dict[Term, float]
"""The weight of each term, counted after the term is divided by its spread; terms of weight 0 are left out."""


class Pool:
    """Nominated items of u users, w at most each, by the parts at NOMINATING half-lives or the one that is set; scorer_at gives a
    term's scorer, and `sample` are users to measure its spread on."""

    def __init__(
        self, names: Iterable[str], scorer_at: Callable[[Term], Scorer], judge: Judge, sample: Histories, *, half_life: float = 0.0
    ) -> None:
        self.names, self.half_life, self._scorer_at, self._judge, self._sample = tuple(names), half_life, scorer_at, judge, sample
        self.half_lives = (half_life,) if half_life else HALF_LIVES
        nominating = [scorer_at((name, at)) for name in self.names for at in ((half_life,) if half_life else NOMINATING)]
        blocks = [self._block(nominating, judge.repeats, *block) for block in judge.blocks()]
        width = max(columns.shape[1] for columns, _, _ in blocks)

        def joined(arrays: Iterable[np.ndarray], fill: int) -> np.ndarray:
            return np.concatenate([np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill) for a in arrays])

        self.columns = joined((columns for columns, _, _ in blocks), -1)
        self.is_open = joined((is_open for _, is_open, _ in blocks), False)
        self.is_relevant = joined((is_relevant for _, _, is_relevant in blocks), False)
        self.n_held = np.diff(judge.relevant.indptr)
        self._scores: dict[Term, np.ndarray] = {}
        self._tried: dict[tuple, Tried] = {}

    @staticmethod
    def _block(
        nominating: list[Scorer], repeats: str, users: slice, kept: Histories, held: Histories, candidates: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The columns (v, w) item_num of some users, -1 where there are fewer, whether a list may have the item, and whether it is
        relevant."""
        tops, is_known, columns = [], None, candidates
        for score in nominating:
            scores = listable(score(kept), kept, repeats)
            tops.append(top(scores, NOMINATED))
            is_known = scores > -np.inf if is_known is None else is_known | (scores > -np.inf)
        if columns is None:
            columns = np.sort(np.concatenate(tops, axis=1), axis=1)
            columns[:, 1:][columns[:, 1:] == columns[:, :-1]] = -1
        rows, n_items = np.arange(len(kept))[:, None], is_known.shape[1]
        held_cells = owners(held.indptr) * n_items + held.items
        is_relevant = np.isin(rows * n_items + columns, held_cells) & (columns >= 0)
        return columns, (columns >= 0) & is_known[rows, np.maximum(columns, 0)], is_relevant

    @cached_property
    def is_below(self) -> np.ndarray | None:
        """Tell which items users would rate below their mean, (u, w); None if nothing is asked of that."""
        disliked = self._judge.disliked
        return None if disliked is None else disliked.among(self.columns, slice(0, len(self.columns)))

    def scores(self, term: Term) -> np.ndarray:
        """(u, w) float32, divided by the spread of the term; 0 for what it knows nothing about."""
        if term not in self._scores:
            score, blocks = self._scorer_at(term), []
            for users, kept, _, _ in self._judge.blocks():
                scores, columns = score(kept), self.columns[users]
                blocks.append(scores[np.arange(len(kept))[:, None], np.maximum(columns, 0)])
            values = np.concatenate(blocks)
            self._scores[term] = np.where(values > -np.inf, values, 0.0).astype(np.float32) / np.float32(spread_of(score, self._sample))
        return self._scores[term]

    def tried(self, weights: Weights) -> Tried:
        """Of the sum: nDCG@10 and the share of rows below the mean."""
        key = tuple(sorted(weights.items()))
        if key not in self._tried:
            summed = sum(np.float32(weight) * self.scores(term) for term, weight in key)
            places = top(np.where(self.is_open, summed, -np.inf), DEPTH)
            is_listed, at = places >= 0, np.maximum(places, 0)
            hit = np.take_along_axis(self.is_relevant, at, axis=1) & is_listed
            hit = np.pad(hit, ((0, 0), (0, max(0, DEPTH - hit.shape[1]))))
            below = np.zeros(len(places))
            if self.is_below is not None:
                below = (np.take_along_axis(self.is_below, at, axis=1) & is_listed).sum(axis=1) / np.maximum(is_listed.sum(axis=1), 1)
            self._tried[key] = Tried(ndcg(hit, self.n_held), below)
        return self._tried[key]

    def tried_of(self, terms: Iterable[Term]) -> list[Weights]:
        """Return all weights that were tried and are made of these terms alone."""
        return [dict(key) for key in self._tried if {term for term, _ in key} <= set(terms)]


def spread_of(score: Scorer, histories: Histories) -> float:
    """By how much scores differ over the items, on average over users: what makes weights compare."""
    users = np.flatnonzero(np.diff(histories.indptr))
    sample = histories.take(users[np.unique(np.linspace(0, len(users) - 1, min(len(users), SAMPLE_USERS)).astype(np.int64))])
    scores = score(sample)
    known = scores[:, scores[0] > -np.inf].astype(np.float64)
    return (float(np.mean(known.std(axis=1))) if known.size else 0.0) or 1.0


def search_weights(pool: Pool, *, alone: Iterable[str], with_one: Iterable[str] = ()) -> tuple[Weights, float]:
    """From the best of the parts that can rank alone, one term at a time until none helps; and the nDCG that was reached. The parts
    of with_one have one term, at an infinite half-life or the one that is set.

    A blend is changed where the gain is larger than its standard error over users: what is no surer than that is as likely to be a
    loss on others, and leaves the simpler blend. In the end, of all weights that were tried of what it is made of, the preferred are
    taken: a step or two from what gains most, so that rows below the mean are not bought with what is liked.
    """
    alone, with_one = tuple(alone), tuple(with_one)
    weights = _best_alone(pool, alone)
    for _ in range(ROUNDS):
        before = weights
        for name in (*alone, *with_one):
            for other in _changes(pool, weights, name, is_one=name in with_one):
                if not pool.tried(weights).is_no_worse(pool.tried(other)):
                    weights = other
        if weights == before:
            break
    if pool.is_below is None:
        return weights, pool.tried(weights).value
    lasting = [(name, pool.half_life or math.inf) for name in with_one]
    terms = dict.fromkeys([*weights, *lasting])
    near = [weights, *(other for term in terms for other in _with_shares(weights, term)), *pool.tried_of(terms)]
    weights = near[preferred([pool.tried(one) for one in near])]
    return weights, pool.tried(weights).value


def _best_alone(pool: Pool, names: tuple[str, ...]) -> Weights:
    """Ties to the part that is named first, and to the longer half-life."""
    best: Weights = {}
    for name in names:
        tried_at = lambda at, name=name: pool.tried({(name, at): 1.0})
        half_lives = [pool.half_life] if pool.half_life else sorted(over_half_lives(tried_at), reverse=True)
        for at in half_lives:
            if not best or tried_at(at).value > pool.tried(best).value + 1e-9:
                best = {(name, at): 1.0}
    return best


def _changes(pool: Pool, weights: Weights, name: str, *, is_one: bool) -> Iterator[Weights]:
    """The best blend with other shares of a part, with other half-lives of it, and with one more term of it: each of the blend so far,
    which the caller may have changed by then."""
    own = [term for term in weights if term[0] == name]
    grid = (pool.half_life or math.inf,) if is_one else pool.half_lives
    best = lambda tried: max(tried, key=lambda one: pool.tried(one).value, default=weights)
    for term in own:
        yield best(_with_shares(weights, term))
    for term in own:
        beyond = next_half_life(term[1], grid) if len(grid) > 1 else None
        others = [at for at in (*grid, *([beyond] if beyond else [])) if (name, at) not in weights]
        kept = {other: share for other, share in weights.items() if other != term}
        yield best([kept | {(name, at): weights[term]} for at in others])
    if len(own) < (1 if is_one else MOST_OF_A_PART):
        new = [(name, at) for at in grid if (name, at) not in weights]
        yield best([weights | {term: step} for term in new for step in FIRST_STEPS])


def _with_shares(weights: Weights, term: Term) -> list[Weights]:
    """Return the blends with other shares of a term: the steps, 0 among them where something is left, and some times what it has."""
    now = weights.get(term, 0.0)
    shares = {*STEPS, *(round(now * factor, 6) for factor in FACTORS)} - {now}
    blends = [{other: share for other, share in (weights | {term: step}).items() if share} for step in sorted(shares)]
    return [one for one in blends if one]


def named(weights: Mapping[Term, float]) -> dict[str, Term]:
    """Terms by the name of their part, the one of two with the longer memory with `LONG` behind it."""
    terms: dict[str, Term] = {}
    for name, at in sorted(weights):
        terms[f"{name}{LONG}" if name in terms else name] = (name, at)
    return terms
