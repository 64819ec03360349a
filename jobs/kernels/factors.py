"""Factor models as item sides: fold a history in, score it, and split the score over the history.

A user is never stored. With Y the item factors, S the items of a history of n interactions, y_i one row of Y:

implicit (Hu, Koren, Volinsky 2008, lambda scaled by n as in Spark MLlib), each row j counting t_j = its recency, 1 in training:
    A = G + sum_S t_j alpha s_j y_j y_j' + reg n I,   b = sum_S t_j (1 + alpha s_j) y_j,   x = A^-1 b,   score_i = y_i' x
    so score_i = sum_S (y_i' A^-1 y_j) t_j (1 + alpha s_j)                          [contributions]
explicit (Zhou et al. 2008, ALS-WR) on ratings less mu + b_u + b_j, with b_u = sum_S (r_j - mu - b_j) / (damping + n):
    A = sum_S t_j y_j y_j' + reg (sum_S t_j) I,   b = sum_S t_j e_j y_j,   e_j = r_j - mu - b_u - b_j
    so the predicted rating is mu + b_u + score_i, and score_i = b_i + sum_S (y_i' A^-1 y_j) t_j e_j     [bias + contributions]
    where e_j is negative for a rating below what was to be expected: it lowers what is like item j
explicit by variational Bayes (training.variational): y_j has variances v_j, the bias is solved with the factors, and the factors are k
models beside each other whose mean is taken. With s = sum_S t_j y_j and d = damping + sum_S t_j,
    b0 = sum_S t_j (r_j - mu - b_j) / d,   A = k blocks(sum_S t_j (y_j y_j' + diag v_j) + ridge - s s' / d),   e_j = r_j - mu - b0 - b_j
    b, x and contributions as above, the predicted rating is mu + b_u + score_i with b_u = b0 - s'x / d
    and blocks sets to 0 what is not of two factors of one model

confidence, of the implicit model, is the share of the variance of item i's score that the history removes:
    P = G + reg I,   D = sum_S alpha s_j y_j y_j',   confidence_i = 1 - (y_i' (P + D)^-1 y_i) / (y_i' P^-1 y_i)
The prior P is one for all users, and rows count in full however old they are: what is known of somebody does not fade as its
weight in the list does. So each row more adds a positive semi-definite term to D, and confidence can only rise with it.

A miniature: two items with factors (1, 0) and (0, 1), G = I, alpha 1, reg 0. The history {item 0, strength 1} gives
A = diag(2, 1), b = (2, 0), x = (1, 0): item 0 scores 1, all of it from itself, and item 1 scores 0. The confidence in item 0
is 1 - (1/2) / 1 = 1/2, and in item 1 it is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import sgemm
from scipy.linalg.lapack import dtrtrs

from jobs.kernels.biases import centred, LEAST
from jobs.kernels.histories import Histories, History
from jobs.kernels.normal_equations import add_rows, cholesky, solve
from jobs.kernels.topn import FILTERED, top_n

MARGIN = 10


def gramian(item_factors: np.ndarray) -> np.ndarray:
    """Y'Y. item_factors (n_items, f) -> (f, f) float64."""
    gram = np.zeros((item_factors.shape[1],) * 2)
    for start in range(0, len(item_factors), 65536):
        block = item_factors[start : start + 65536].astype(np.float64)
        gram += block.T @ block
    return gram


@dataclass(frozen=True)
class Posterior:
    """A folded-in user.

    x (f,) are the factors, cholesky (f, f) the upper Cholesky factor of A, weights (n,) what each history item weighs in b, and constant
    what the score of item i adds to b_i: mu + b_u, 0 for implicit feedback.
    """

    x: np.ndarray
    cholesky: np.ndarray
    weights: np.ndarray
    constant: float

    def solve(self, right: np.ndarray) -> np.ndarray:
        """A^-1 right, for right (f, k)."""
        return solve(self.cholesky, right)


class Folded(NamedTuple):
    """A user of a factor model: the items of the history, and its posterior."""

    items: np.ndarray
    posterior: Posterior


@dataclass(frozen=True)
class ImplicitFactors:
    """Item side of implicit ALS, and a Ranker.

    item_factors (n_items, f) float32, gramian (f, f) float64, alpha and reg as in training, and the half-life of a history, in moments.
    """

    item_factors: np.ndarray
    gramian: np.ndarray
    alpha: float
    reg: float
    half_life: float = math.inf

    @property
    def n_items(self) -> int:
        return len(self.item_factors)

    def posterior(self, items: np.ndarray, strengths: np.ndarray, recency: np.ndarray | float = 1.0) -> Posterior:
        """Solve one user.

        Parameters
        ----------
        items : (n,) item_num
        strengths : (n,) above 0
        recency : (n,) in (0, 1]

        Raises
        ------
        ValueError
            if n is 0, for which there is no solution
        """
        weights = recency * (1.0 + self.alpha * strengths)
        return _posterior(self.gramian, self.reg * len(items), self.item_factors[items], recency * self.alpha * strengths, weights, 0.0)

    def fold_in(self, history: History) -> Folded:
        return Folded(history.items, self.posterior(history.items, history.strengths, history.recency(self.half_life)))

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items without factors: nobody interacted with them in training."""
        return np.flatnonzero(~self.item_factors.any(axis=1))

    @cached_property
    def _noise(self) -> float:
        return _noise(self.item_factors)

    def candidates(self, histories: Histories, users: list[Folded], n: int, excluded: np.ndarray) -> list[np.ndarray]:
        """From a float32 product over all items; MARGIN more than n, and all that tie at the cut."""
        queries = np.array([user.posterior.x for user in users], np.float32).reshape(len(users), -1)
        own = histories.matrix(len(self.item_factors))
        items, scores = top_n(self.item_factors, queries, n + MARGIN, own=own, excluded=excluded)
        candidates = [items[row][scores[row] > FILTERED] for row in range(len(users))]
        for row, query in enumerate(queries):
            noise = 2 * self._noise * np.linalg.norm(query)
            if len(candidates[row]) == n + MARGIN and scores[row, n - 1] - scores[row, -1] <= noise:
                candidates[row] = self._near(query, scores[row, n - 1] - noise, own[row].indices, excluded)
        return candidates

    def _near(self, query: np.ndarray, least: float, own: np.ndarray, excluded: np.ndarray) -> np.ndarray:
        """All that score least or more: where more items tie than the margin holds, float32 cannot choose among them."""
        scores = self.item_factors @ query
        scores[own], scores[excluded] = -np.inf, -np.inf
        return np.flatnonzero(scores >= least).astype(np.int32)

    def all_scores(self, histories: Histories) -> np.ndarray:
        return _all_scores(self, histories)

    def add_scores(self, users: list[Folded], factor: float, total: np.ndarray) -> np.ndarray:
        return self._noise * _add_products(self.item_factors, users, factor, total)

    def biases(self, targets: np.ndarray) -> np.ndarray:
        return np.zeros(len(targets))

    def scores(self, user: Folded, targets: np.ndarray) -> np.ndarray:
        return _products(self.item_factors, user, targets)

    def contributions(self, user: Folded, targets: np.ndarray) -> np.ndarray:
        return contributions(self.item_factors, user.posterior, user.items, targets)

    @cached_property
    def _prior(self) -> np.ndarray:
        """P (f, f): what is known of somebody without a history."""
        prior = self.gramian.copy()
        prior.flat[:: len(prior) + 1] += self.reg
        return prior

    @cached_property
    def _prior_cholesky(self) -> np.ndarray:
        return cholesky(self._prior)

    def confidence(self, history: History, targets: np.ndarray) -> np.ndarray:
        """Share of the prior variance of each target item's score that the history removes, (k,) in 0..1."""
        known = self._prior.copy(order="F")
        add_rows(known, self.item_factors[history.items].astype(np.float64), np.sqrt(self.alpha * history.strengths))
        wanted = self.item_factors[targets].astype(np.float64).T
        before, after = _variances(self._prior_cholesky, wanted), _variances(cholesky(known), wanted)
        return np.clip(1.0 - after / np.maximum(before, np.finfo(float).tiny), 0.0, 1.0)


@dataclass(frozen=True)
class RatingFactors:
    """Item side of a model that predicts ratings.

    item_factors (n_items, f) float32, item_biases (n_items,) float64, the mean rating mu, the damping of the user's bias, and the bounds of
    the scale.
    """

    item_factors: np.ndarray
    item_biases: np.ndarray
    mu: float
    damping: float
    low: float
    high: float

    def centred(self, items: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, float]:
        """Return what mean and biases leave of one user's ratings (n,), and mu + b_u."""
        remainder = centred(np.array([0, len(items)]), items, ratings, self.mu, self.item_biases, self.damping)
        return remainder.errors, self.mu + float(remainder.user_biases[0])

    def predict(self, posterior: Posterior, targets: np.ndarray) -> np.ndarray:
        """Predicted ratings (k,), inside the scale."""
        raw = posterior.constant + self.item_biases[targets] + self.item_factors[targets].astype(np.float64) @ posterior.x
        return np.clip(raw, self.low, self.high)


@dataclass(frozen=True)
class ExplicitFactors(RatingFactors):
    """Item side of explicit ALS, which is a part of a blend too: reg, and the half-life of a history as a part, in moments.

    By variational Bayes it has item_variances (n_items, f) float32, the ridge (f,) float64 of a user instead of reg, and n_blocks, of as many
    factors each.
    """

    reg: float = 0.0
    half_life: float = math.inf
    item_variances: np.ndarray | None = None
    ridge: np.ndarray | None = None
    n_blocks: int = 1

    @property
    def n_items(self) -> int:
        return len(self.item_factors)

    @cached_property
    def untrained(self) -> np.ndarray:
        """Items that nobody rated in training: they score 0."""
        return np.flatnonzero(~self.item_factors.any(axis=1) & (self.item_biases == 0))

    @cached_property
    def _noise(self) -> float:
        return _noise(self.item_factors)

    @cached_property
    def _biases(self) -> np.ndarray:
        return self.item_biases.astype(np.float32)

    def fold_in(self, history: History) -> Folded:
        """Rows without a rating stand in the history, and weigh nothing."""
        is_rated, weights = ~np.isnan(history.ratings), np.zeros(history.n)
        posterior = self.posterior(*history.rated, history.recency(self.half_life)[is_rated])
        weights[is_rated] = posterior.weights
        return Folded(history.items, replace(posterior, weights=weights))

    def all_scores(self, histories: Histories) -> np.ndarray:
        return _all_scores(self, histories)

    def add_scores(self, users: list[Folded], factor: float, total: np.ndarray) -> np.ndarray:
        total += np.float32(factor) * self._biases
        rounded = abs(factor) * np.abs(self._biases).max(initial=0.0) * np.finfo(np.float32).eps
        return self._noise * _add_products(self.item_factors, users, factor, total) + rounded

    def biases(self, targets: np.ndarray) -> np.ndarray:
        return self.item_biases[targets]

    def scores(self, user: Folded, targets: np.ndarray) -> np.ndarray:
        return self.item_biases[targets] + _products(self.item_factors, user, targets)

    def contributions(self, user: Folded, targets: np.ndarray) -> np.ndarray:
        return contributions(self.item_factors, user.posterior, user.items, targets)

    def posterior(self, items: np.ndarray, ratings: np.ndarray, recency: np.ndarray | float = 1.0) -> Posterior:
        """Solve one user; without a rating it is the mean user.

        Parameters
        ----------
        items : (n,) item_num
        ratings : (n,) on the scale
        recency : (n,) in (0, 1]
        """
        if len(items) == 0:
            f = self.item_factors.shape[1]
            return Posterior(np.zeros(f), np.eye(f), np.zeros(0), self.mu)
        left, f = np.broadcast_to(recency, len(items)), self.item_factors.shape[1]
        if self.item_variances is not None:
            return self._mean_of_blocks(items, ratings, left, self.item_variances[items])
        errors, constant = self.centred(items, ratings)
        return _posterior(np.zeros((f, f)), self.reg * left.sum(), self.item_factors[items], left, left * errors, constant)

    def _mean_of_blocks(self, items: np.ndarray, ratings: np.ndarray, left: np.ndarray, variances: np.ndarray) -> Posterior:
        """Solve each block with the user's bias; x and the weights are such that y'x is the mean over the blocks."""
        Y, over = self.item_factors[items].astype(np.float64), ratings - self.mu - self.item_biases[items]
        divisor, s = max(self.damping + left.sum(), LEAST), left @ Y
        errors = over - left @ over / divisor
        A = -np.outer(s, s) / divisor
        A.flat[:: len(A) + 1] += left @ variances + self.ridge
        b = (left * errors) @ Y
        add_rows(A.T, Y, np.sqrt(left))  # symmetric: the transpose is it in Fortran's order
        factor = cholesky(self.n_blocks * np.where(self._is_of_block, A.T, 0.0))
        x = solve(factor, b)
        return Posterior(x, factor, left * errors, self.mu + float(left @ over - s @ x) / divisor)

    @cached_property
    def _is_of_block(self) -> np.ndarray:
        """Tell which factors are of the same block, (f, f)."""
        block = np.arange(self.item_factors.shape[1]) * self.n_blocks // max(self.item_factors.shape[1], 1)
        return block[:, None] == block


def _noise(item_factors: np.ndarray) -> float:
    """By how much a float32 score may be off, for user factors of length 1."""
    longest = np.sqrt(np.einsum("if,if->i", item_factors, item_factors).max(initial=0.0))
    return float((item_factors.shape[1] + 2) * np.finfo(np.float32).epsneg * longest)


def _all_scores(part: ImplicitFactors | ExplicitFactors, histories: Histories) -> np.ndarray:
    """Fold the users in one by one, and score every item, (u, n_items) float32. A user without a history has the items' biases."""
    users = [part.fold_in(histories.user(k)) for k in np.flatnonzero(np.diff(histories.indptr)).tolist()]
    total = np.zeros((len(users), part.n_items), np.float32)
    if users:
        part.add_scores(users, 1.0, total)
    if len(users) == len(histories):
        return total
    scores = np.tile(part.biases(np.arange(part.n_items)).astype(np.float32), (len(histories), 1))
    scores[np.diff(histories.indptr) > 0] = total
    return scores


def _add_products(item_factors: np.ndarray, users: list[Folded], factor: float, total: np.ndarray) -> np.ndarray:
    """Add factor y_i' x to total (u, n_items), in float32; returns the lengths of factor x, (u,)."""
    queries = factor * np.array([user.posterior.x for user in users])
    # total' += Y queries', in place: as columns, which is how BLAS sees rows
    sgemm(1.0, item_factors.T, queries.astype(np.float32).T, beta=1.0, c=total.T, trans_a=1, overwrite_c=1)
    return np.linalg.norm(queries, axis=1)


def _products(item_factors: np.ndarray, user: Folded, targets: np.ndarray) -> np.ndarray:
    # einsum adds each row by itself; a matrix product rounds equal items differently, by where they stand in the block
    return np.einsum("cf,f->c", item_factors[targets].astype(np.float64), user.posterior.x)


def contributions(item_factors: np.ndarray, posterior: Posterior, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Share of each history item in the score of each target, (n, k): (y_j' A^-1 y_i) w_j."""
    solved = posterior.solve(item_factors[targets].astype(np.float64).T)
    return (item_factors[items].astype(np.float64) @ solved) * posterior.weights[:, None]


def _variances(cholesky: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Compute y' A^-1 y of each column of Y (f, k), from A = R'R: the squared length of R'^-1 y."""
    half = dtrtrs(cholesky, Y, trans=1)[0]
    return np.einsum("fk,fk->k", half, half)


def _posterior(base: np.ndarray, ridge: float, factors: np.ndarray, counted: np.ndarray, weights: np.ndarray, constant: float) -> Posterior:
    """Solve A x = b with A = base + sum_j counted_j y_j y_j' + ridge I and b = sum_j weights_j y_j, for factors (n, f) of a history."""
    Y, A = factors.astype(np.float64), base.copy(order="F")
    A.flat[:: len(A) + 1] += ridge
    b = weights @ Y
    add_rows(A, Y, np.sqrt(counted))
    factor = cholesky(A)
    return Posterior(solve(factor, b), factor, weights, constant)
