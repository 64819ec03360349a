"""Small made-up worlds: an item side and histories over it, drawn from one seed so that a failing example stays short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from jobs.kernels.factors import ExplicitFactors, gramian, ImplicitFactors
from jobs.kernels.histories import Histories, strength
from jobs.kernels.item_side import ItemSide
from jobs.kernels.rankers import Blend

LOW, HIGH = 0.5, 5.0


@dataclass(frozen=True)
class World:
    side: ItemSide
    histories: Histories

    def history(self, k: int) -> Histories:
        """One user alone."""
        return self.histories.block(k, k + 1)


def one_user(items, strengths, ratings) -> Histories:
    return Histories(
        np.array([0, len(items)]),
        np.asarray(items, np.int32),
        np.asarray(strengths, float),
        np.asarray(ratings, float),
        np.arange(len(items)),
    )


def item_side(
    draw: np.random.Generator,
    n_items: int,
    n_factors: int = 4,
    *,
    n_genres: int = 5,
    is_rated: bool = True,
    n_untrained: int = 0,
    reg: float = 0.1,
    half_life: float = np.inf,
    is_blend: bool = False,
) -> ItemSide:
    factors = draw.normal(0, 0.7, (n_items, n_factors)).astype(np.float32)
    factors[draw.choice(n_items, n_untrained, replace=False)] = 0
    biases = draw.normal(0, 0.4, n_items)
    rater = None
    if is_rated:
        rated_factors = draw.normal(0, 0.5, (n_items, n_factors)).astype(np.float32)
        rater = ExplicitFactors(rated_factors, biases, 3.4, 5.0, LOW, HIGH, reg)
    popularity = draw.integers(0, 6, n_items).astype(float)  # few values, so that there are ties
    genres = csr_matrix((draw.random((n_items, n_genres)) < 0.3).astype(np.float32))
    by_events = ImplicitFactors(factors, gramian(factors), 4.0, reg, half_life=half_life)
    ranker = by_events if rater is None or not is_blend else Blend(((1.0, by_events), (0.5, rater)))
    return ItemSide(ranker, by_events, rater, popularity, genres, mu=3.4 if is_rated else np.nan, damping=5.0)


def histories(draw: np.random.Generator, n_items: int, lengths: list[int], *, is_rated: bool = True) -> Histories:
    items = [np.sort(draw.choice(n_items, min(length, n_items), replace=False)) for length in lengths]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in items])]).astype(np.int64)
    flat = np.concatenate([*items, np.zeros(0, int)]).astype(np.int32)
    moments = np.concatenate([*(draw.permutation(len(row)) // 2 for row in items), np.zeros(0, int)]).astype(np.int64)
    if is_rated:
        ratings = draw.integers(1, 11, len(flat)) / 2
        return Histories(indptr, flat, strength(ratings, np.ones(len(flat)), low=LOW, high=HIGH), ratings, moments)
    weights = draw.integers(1, 30, len(flat)).astype(float)
    return Histories(indptr, flat, strength(np.full(len(flat), np.nan), weights, low=None, high=None), np.full(len(flat), np.nan), moments)


@st.composite
def worlds(draw: st.DrawFn, *, min_length: int = 0, blends: bool = False) -> World:
    """Up to 40 items and 5 users, some items without factors, ratings or none."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_items = draw(st.integers(4, 40), label="items")
    is_rated = draw(st.booleans(), label="rated")
    n_untrained = draw(st.integers(0, n_items // 3), label="untrained")
    half_life = draw(st.sampled_from([np.inf, 5.0]), label="half-life")
    is_blend = blends and draw(st.booleans(), label="blend")
    side = item_side(random, n_items, is_rated=is_rated, n_untrained=n_untrained, half_life=half_life, is_blend=is_blend)
    lengths = draw(st.lists(st.integers(min_length, 12), min_size=1, max_size=5), label="lengths")
    return World(side, histories(random, n_items, lengths, is_rated=is_rated))
