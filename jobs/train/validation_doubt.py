"""Doubt: whether what validation says of the models contradicts sense, so that a choice by it, and a verdict, mean nothing.

Two things are asked of the best personal model, over the validation users:

    Does it rank better than popularity?  In doubt where its mean nDCG@10 is not above that of `popular`.
    Does it find anything?                In doubt where its mean nDCG@10 is below FLOOR, or its interval reaches down to chance.

Fewer than `gate_users` users say too little to doubt anything. Such figures come from the data as a rule: a file whose last rows are not the users' latest, times that are not of the interactions, ids
that changed their meaning.
"""

from __future__ import annotations

import numpy as np

from jobs.kernels.evaluation.bootstrap import mean_interval
from schemas.settings import Settings

FLOOR = 0.005  # nDCG@10; lists of a large and sparse catalogue have some 0.02, published


def doubt(ndcgs: dict[str, np.ndarray], chance: np.ndarray, settings: Settings) -> str:
    """A sentence where validation contradicts sense, or an empty one.

    ndcgs: nDCG@10 of each user (u,) by model, `popular` among them, NaN for a user without a value; chance (u,): what drawn
    lists would have.
    """
    counted = {name: mean_interval(values, seed=settings.seed) for name, values in ndcgs.items()}
    best = max((name for name in ndcgs if name != "popular"), key=lambda name: counted[name].mean)
    interval, popular = counted[best], counted["popular"]
    if interval.n < settings.gate_users:
        return ""
    said = f"validation contradicts sense: the best model, {best}, has nDCG@10 {interval.mean:.4f} over {interval.n} users"
    drawn, ahead = float(np.nanmean(chance)), float(np.nanmean(ndcgs[best] - ndcgs["popular"]))
    cause = "look at the times and ids of the interactions before this release is used"
    if interval.mean < FLOOR or interval.low <= drawn:
        return f"{said}, lists by chance would have {drawn:.4f}; {cause}"
    if ahead <= 0:
        return f"{said}, popular has {popular.mean:.4f}; {cause}"
    return ""
