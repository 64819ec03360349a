"""Score and explain given pairs: what a list would say of an item, whether or not it is in one.

history -> fold-in -> score, predicted rating, confidence and reasons of each target, by the functions of `lists`.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels import lists as kernel
from jobs.kernels.histories import Histories


def score_items(side: kernel.ItemSide, history: Histories, targets: np.ndarray, *, reasons_n: int, min_history: int) -> kernel.Lists:
    """Rows for the targets (k,) item_num, in their order, for the one user of history.

    The rows of a list's items are those of the list. A target without factors, and every target of a history shorter than
    min_history, is scored by its popularity, as in a fallback.
    """
    posterior = kernel._fold(side.ranker, history, 0, min_history)
    targets = np.asarray(targets, np.int32)
    scores, tiers = side.popularity[targets].astype(float), np.full(len(targets), kernel.POPULAR, np.int8)
    if posterior is not None:
        ranked = np.flatnonzero(~np.isin(targets, side.untrained))
        scores[ranked] = side.ranker.item_factors[targets[ranked]].astype(np.float64) @ posterior.x
        tiers[ranked] = kernel.RANKED
    ranking = kernel._Ranking(targets, scores, tiers)
    return kernel.Lists(
        np.array([0, len(targets)]), targets, scores,
        kernel._predict(side, history.items, history.ratings, targets),
        kernel._confidence(side, posterior, len(history.items), ranking), tiers,
        *kernel.explain(side, posterior, history.items, history.ratings, ranking, reasons_n),
    )
