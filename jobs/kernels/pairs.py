"""Score and explain given pairs: what a list would say of an item, whether or not it is in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import fold_in, Lists, lists_of, POPULAR
from jobs.kernels.reasons import RANKED, Ranking


def score_items(
    side: ItemSide, history: Histories, targets: np.ndarray, *, reasons_n: int, min_history: int, is_whole: bool = False
) -> Lists:
    """Score targets (k,) item_num, in their order, for the one user of history.

    The rows of a list's items are those of the list. With is_whole and a large enough reasons_n, scores are split over every row of the
    history.
    """
    user = fold_in(side, history.user(0), min_history)
    ranking = ranking_of(side, user, targets)
    return lists_of(side, history, [user], [ranking], explain_n=len(targets), reasons_n=reasons_n, is_whole=is_whole)


def ranking_of(side: ItemSide, user: Any, targets: np.ndarray) -> Ranking:
    """Score targets (k,) item_num, in their order, for a folded-in user.

    A target that the ranker knows nothing about, and every target of a user that is None because the history is too short, is scored by its
    popularity, as in a fallback.
    """
    targets = np.asarray(targets, np.int32)
    scores, tiers = side.popularity[targets].astype(float), np.full(len(targets), POPULAR, np.int8)
    if user is not None:
        ranked = np.flatnonzero(~np.isin(targets, side.ranker.untrained))
        scores[ranked], tiers[ranked] = side.ranker.scores(user, targets[ranked]), RANKED
    return Ranking(targets, scores, tiers, np.zeros(len(targets), np.int32))
