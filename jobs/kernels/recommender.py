"""The one idea as a value: a model is its item side, a user is their history. Whoever holds a Recommender can answer for a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.kernels.histories import Histories, one_history, strength
from jobs.kernels.item_side import ItemSide, OFF
from jobs.kernels.lists import fold_in, Lists, popular_lists, recommend
from jobs.kernels.pairs import ranking_of, score_items
from jobs.kernels.reasons import Ranking


@dataclass(frozen=True)
class Recommender:
    """An item side with the names of its items and the settings of its lists. Arrays only: it opens nothing and keeps nothing.

    Parameters
    ----------
    item_ids : (n_items,) int64 or str, ascending; the place of an id is its item_num.
    side : what lists are computed from, besides the history.
    scale : lowest and highest rating; None for implicit feedback.
    n, explain_n, reasons_n : rows of a list, how many of them have reasons, and history reasons of each.
    min_history : a shorter history gets popular items.
    """

    item_ids: np.ndarray
    side: ItemSide
    scale: tuple[float, float] | None
    n: int
    explain_n: int
    reasons_n: int
    min_history: int

    def number(self, item_id: Any) -> int | None:
        """Return the item_num of an item, None if it is unknown."""
        if isinstance(item_id, str) != (self.item_ids.dtype.kind == "U"):
            return None
        place = int(np.searchsorted(self.item_ids, item_id))
        return place if place < len(self.item_ids) and self.item_ids[place] == item_id else None

    def history(self, rows: Mapping[Any, tuple[Any, ...]]) -> Histories:
        """Return one user's history.

        Parameters
        ----------
        rows : (rating, weight, time, number, how often) by item id, None for what is not there; how often is asked for where items may
            come again; an item that the side does not know is left out
        """
        low, high = self.scale or (None, None)
        columns = list(zip(*rows.values())) or [()] * 5
        ratings, weights, times = columns[:3]
        counts = None if self.side.repeats == OFF else columns[4]
        return one_history(self.item_ids, list(rows), ratings, weights, times, low=low, high=high, counts=counts)

    def reread(self, histories: Histories) -> Histories:
        """Return histories of these items as ratings of this scale count."""
        if self.scale is None:
            return histories
        low, high = self.scale
        strengths = strength(histories.ratings, histories.strengths, low=low, high=high)
        return Histories(histories.indptr, histories.items, strengths, histories.ratings, histories.moments, histories.counts)

    def lists(
        self, histories: Histories, *, n: int | None = None, explain_n: int | None = None, excluded: np.ndarray | None = None
    ) -> Lists:
        """Return the lists of the histories, as `jobs.kernels.lists.recommend` makes them.

        Parameters
        ----------
        excluded : (m,) item_num, besides those that the side excludes, or None
        """
        return recommend(
            self.side, histories, n=self.n if n is None else n, explain_n=self.explain_n if explain_n is None else explain_n,
            reasons_n=self.reasons_n, min_history=self.min_history, excluded=excluded,
        )  # fmt: skip

    def popular(self, histories: Histories, *, n: int | None = None, explain_n: int | None = None) -> Lists:
        """Return the lists that histories get which cannot be ranked by: popular items of their favourite genres, then of all."""
        return popular_lists(
            self.side, histories, n=self.n if n is None else n, explain_n=self.explain_n if explain_n is None else explain_n,
            reasons_n=self.reasons_n,
        )  # fmt: skip

    def pairs(self, history: Histories, targets: np.ndarray, *, reasons_n: int | None = None) -> Lists:
        """Return rows for targets (k,) item_num, in their order, for one user's history.

        A reasons_n that holds the whole history splits each score over every row of it.
        """
        return score_items(
            self.side, history, targets, reasons_n=self.reasons_n if reasons_n is None else reasons_n,
            min_history=self.min_history, is_whole=reasons_n is not None,
        )  # fmt: skip

    def ranking(self, history: Histories, targets: np.ndarray) -> Ranking:
        """Return the scores and tiers of targets (k,) item_num, in their order, for one user's history: `pairs` without its reasons."""
        return ranking_of(self.side, fold_in(self.side, history.user(0), self.min_history), targets)

    def unpersonal(self) -> Recommender:
        """Return one that knows no genres and re-ranks nothing, so that its popular lists are the same for all users."""
        return replace(self, side=replace(self.side, reranking=None, genres=self.side.genres[:, :0]))
