"""Figures of a model in `bench accuracy`: every metric a user, and means with intervals over users."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels import relevance
from jobs.kernels.evaluation import list_metrics, metrics
from jobs.kernels.evaluation.bootstrap import mean_interval, paired_difference
from jobs.kernels.histories import Histories

RECALL_DEPTH = 20
DIGITS = 5
AT_K = {
    "ndcg": metrics.ndcg,
    "hit_rate": metrics.hit_rate,
    "precision": metrics.precision,
    "recall": metrics.recall_by_relevant,
    "recall_by_reachable": metrics.recall_by_reachable,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
}
DEEPER = {"ndcg": metrics.ndcg, "recall": metrics.recall_by_relevant, "recall_by_reachable": metrics.recall_by_reachable}
LIKED = {"ndcg_liked": metrics.ndcg, "hit_rate_liked": metrics.hit_rate}


class Items(NamedTuple):
    """Facts of the items for the metrics beyond accuracy: features (n_items, f) of their text or None, genres (n_items, g),
    and of the training rows how many users have each item, of n_users."""

    features: csr_matrix | None
    genres: csr_matrix
    n_having: np.ndarray
    n_users: int


class Values(NamedTuple):
    """Measurements on some users: users (u,), a value a user by metric (NaN if there is none), squared and absolute
    errors of their tested rows with how many rows were counted, and how often each item was recommended, (cuts, n_items)."""

    users: np.ndarray
    per_user: dict[str, np.ndarray]
    squared: np.ndarray
    absolute: np.ndarray
    n_rated: np.ndarray
    times: np.ndarray


def of_lists(lists: np.ndarray, kept: Histories, held: Histories, expected: np.ndarray, items: Items, k: int) -> dict[str, np.ndarray]:
    """Every metric of lists (u, max(k, RECALL_DEPTH)), (u,) each; expected (u, k): what popularity gives the same user."""
    n_held = np.diff(held.indptr)
    hit = metrics.hit_table(lists, held.indptr, held.items, n_items_of(items))
    by_metric = {f"{name}_at_{k}": measure(hit[:, :k], n_held) for name, measure in AT_K.items()}
    by_metric |= {f"{name}_at_{RECALL_DEPTH}": measure(hit[:, :RECALL_DEPTH], n_held) for name, measure in DEEPER.items()}
    rare = held.select(list_metrics.is_rare(items.n_having)[held.items])
    of_rare = metrics.hit_table(lists[:, :k], rare.indptr, rare.items, n_items_of(items))
    by_metric[f"ndcg_rare_at_{k}"] = metrics.ndcg(of_rare, np.diff(rare.indptr))
    heads, nothing = lists[:, :k], np.full(len(lists), np.nan)
    with_features = items.features is not None
    by_metric |= {
        f"novelty_at_{k}": list_metrics.novelty(heads, items.n_having, items.n_users),
        f"mean_popularity_at_{k}": list_metrics.mean_popularity(heads, items.n_having, items.n_users),
        f"intra_list_diversity_at_{k}": list_metrics.intra_list_diversity(heads, items.features) if with_features else nothing,
        f"serendipity_at_{k}": list_metrics.serendipity(heads, hit[:, :k], n_held, expected, features=items.features),
        f"genre_miscalibration_at_{k}": list_metrics.miscalibration(heads, kept.weighted(n_items_of(items), np.inf), items.genres),
    }
    return by_metric


def of_liked(lists: np.ndarray, held: Histories, means: np.ndarray, predicted: np.ndarray, items: Items, k: int) -> dict[str, np.ndarray]:
    """Measure what lists (u, >= k) find of the rows at or above the users' means (u,), and which share of them is predicted below, (u,) each.
    predicted (u, k) is NaN if nothing is."""
    liked = held.select(relevance.is_liked(held, means))
    hit, n_liked = metrics.hit_table(lists[:, :k], liked.indptr, liked.items, n_items_of(items)), np.diff(liked.indptr)
    below = relevance.share_below(predicted.ravel(), np.repeat(np.arange(len(lists)), k), means)
    return {f"{name}_at_{k}": measure(hit, n_liked) for name, measure in LIKED.items()} | {f"below_mean_at_{k}": below}


def n_items_of(items: Items) -> int:
    return len(items.n_having)


def of_ratings(predicted: np.ndarray, held: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean squared and mean absolute error of each user's tested rows, (u,) each, and how many rows were counted."""
    errors = predicted - held.ratings
    squared, n = metrics.mean_per_user(errors**2, held.indptr)
    absolute, _ = metrics.mean_per_user(np.abs(errors), held.indptr)
    return squared, absolute, n


def over_cuts(parts: list[Values]) -> Values:
    """One value a user over the folds of a protocol: the mean of lists, and errors over all rows."""
    if len(parts) == 1:
        return parts[0]
    users, place = np.unique(np.concatenate([part.users for part in parts]), return_inverse=True)

    def mean(values: list[np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
        joined = np.concatenate(values)
        weight = np.ones(len(joined)) if weights is None else weights.astype(float)
        weight = np.where(np.isnan(joined), 0.0, weight)
        totals = np.bincount(place, weight, len(users))
        return np.bincount(place, np.nan_to_num(joined) * weight, len(users)) / np.where(totals > 0, totals, np.nan)

    n_rated = np.concatenate([part.n_rated for part in parts])
    return Values(
        users,
        {name: mean([part.per_user[name] for part in parts]) for name in parts[0].per_user},
        mean([part.squared for part in parts], n_rated),
        mean([part.absolute for part in parts], n_rated),
        np.bincount(place, n_rated, len(users)),
        np.concatenate([part.times for part in parts]),
    )


def figures(values: Values, *, k: int, seed: int) -> dict[str, Any]:
    """Means by metric, each with the bounds of its 95 % interval over users as _low and _high; None if nobody has one."""
    row: dict[str, Any] = {}
    for name, of_user in values.per_user.items():
        row |= _interval(name, mean_interval(of_user, seed=seed))
    for name, measure in (("coverage", list_metrics.catalogue_coverage), ("gini", list_metrics.gini)):
        row[f"{name}_at_{k}"] = _rounded(np.mean([measure(times) for times in values.times]))
    squared = mean_interval(values.squared, seed=seed, weights=values.n_rated)
    row |= _interval("rmse", squared._replace(mean=squared.mean**0.5, low=squared.low**0.5, high=squared.high**0.5))
    row |= _interval("mae", mean_interval(values.absolute, seed=seed, weights=values.n_rated))
    return row


def behind(values: Values, best: Values, metric: str, *, seed: int) -> dict[str, Any]:
    """Return how far a model is behind the best on the same users: the paired difference with its interval, 0 for the best itself."""
    difference = paired_difference(values.per_user[metric], best.per_user[metric], seed=seed, margin=0.0)
    return _interval(f"{metric}_over_best", difference)


def _interval(name: str, interval) -> dict[str, Any]:
    return {name: _rounded(interval[0]), f"{name}_low": _rounded(interval.low), f"{name}_high": _rounded(interval.high)}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)
