"""The weights of a blend, learned on validation users: parts brought to one spread, and each weight in turn.

Only items that some part ranks high can reach a list, so each part nominates some, and the search looks at those alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jobs.kernels.histories import Histories
from jobs.kernels.metrics import counted_mean, ndcg
from jobs.models.contract import Scorer
from jobs.models.tuning import DEPTH, Judge, top, without_own

NOMINATED = 100
STEPS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
ROUNDS = 3
SAMPLE_USERS = 500


@dataclass(frozen=True)
class Pool:
    """Nominated items of u users: scores by part (u, w) float32, divided by the part's spread; is_relevant (u, w); is_open
    (u, w), whether a place holds an item at all; n_held (u,)."""

    scores: Mapping[str, np.ndarray]
    is_relevant: np.ndarray
    is_open: np.ndarray
    n_held: np.ndarray

    def ndcg(self, weights: Mapping[str, float]) -> np.ndarray:
        """nDCG@10 of the sum, (u,), NaN for users of whom nothing was kept out."""
        summed = sum(np.float32(w) * self.scores[name] for name, w in weights.items() if w)
        summed = np.where(self.is_open, summed, -np.inf)
        places = top(summed, DEPTH)
        hit = np.take_along_axis(self.is_relevant, np.maximum(places, 0), axis=1) & (places >= 0)
        if hit.shape[1] < DEPTH:
            hit = np.pad(hit, ((0, 0), (0, DEPTH - hit.shape[1])))
        return ndcg(hit, self.n_held)


def pooled(parts: Mapping[str, Scorer], spreads: Mapping[str, float], judge: Judge) -> Pool:
    blocks = [_block(parts, spreads, kept, held, candidates) for kept, held, candidates in judge.blocks()]
    width = max(block.is_open.shape[1] for block in blocks)

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in arrays])

    return Pool(
        {name: joined([block.scores[name] for block in blocks]) for name in parts},
        joined([block.is_relevant for block in blocks]),
        joined([block.is_open for block in blocks]),
        np.concatenate([block.n_held for block in blocks]),
    )


def _block(
    parts: Mapping[str, Scorer], spreads: Mapping[str, float], kept: Histories, held: Histories, candidates: np.ndarray | None
) -> Pool:
    scores = {name: without_own(score(kept), kept) for name, score in parts.items()}
    n_items = next(iter(scores.values())).shape[1]
    if candidates is None:
        columns = np.sort(np.concatenate([top(of, NOMINATED) for of in scores.values()], axis=1), axis=1)
        columns[:, 1:][columns[:, 1:] == columns[:, :-1]] = -1
    else:
        columns = candidates
    rows = np.arange(len(kept))[:, None]
    known = {name: of[rows, np.maximum(columns, 0)] for name, of in scores.items()}
    is_open = (columns >= 0) & np.any([of > -np.inf for of in known.values()], axis=0)
    held_cells = np.repeat(np.arange(len(held)), np.diff(held.indptr)) * n_items + held.items
    return Pool(
        {name: np.where(of > -np.inf, of, 0.0).astype(np.float32) / np.float32(spreads[name]) for name, of in known.items()},
        np.isin(rows * n_items + columns, held_cells) & (columns >= 0),
        is_open,
        np.diff(held.indptr),
    )


def spreads_of(parts: Mapping[str, Scorer], histories: Histories) -> dict[str, float]:
    """By how much the scores of each part differ over the items, on average over users: what makes weights compare."""
    users = np.flatnonzero(np.diff(histories.indptr))
    sample = histories.take(users[np.unique(np.linspace(0, len(users) - 1, min(len(users), SAMPLE_USERS)).astype(np.int64))])
    found = {}
    for name, score in parts.items():
        scores = score(sample)
        known = scores[:, scores[0] > -np.inf].astype(np.float64)
        found[name] = float(np.mean(known.std(axis=1))) if known.size else 0.0
    return {name: spread or 1.0 for name, spread in found.items()}


def searched(pool: Pool) -> tuple[dict[str, float], float]:
    """From the best part alone, one weight at a time, until none helps; and the nDCG that was reached.

    A weight is changed where the gain is larger than its standard error over users: what is no surer than that is as likely
    to be a loss on others, and leaves the simpler blend.
    """
    names = list(pool.scores)
    alone = {name: pool.ndcg({name: 1.0}) for name in names}
    first = max(names, key=lambda name: counted_mean(alone[name]))
    weights, best = {name: float(name == first) for name in names}, alone[first]
    for _ in range(ROUNDS):
        before = weights
        for name in names:
            tried = [weights | {name: step} for step in STEPS if step != weights[name]]
            found = [(pool.ndcg(of), of) for of in tried if any(of.values())]
            values, of = max(found, key=lambda one: counted_mean(one[0]))
            if _gains(values - best):
                weights, best = of, values
        if weights == before:
            break
    return weights, counted_mean(best)


def _gains(differences: np.ndarray) -> bool:
    counted = differences[~np.isnan(differences)]
    return len(counted) > 1 and counted.mean() > counted.std(ddof=1) / len(counted) ** 0.5
