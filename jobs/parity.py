"""Parity: sampled users' lists computed again, one by one, from the sealed tables and files alone; their ready lists too."""

from __future__ import annotations

import random
import sqlite3

import numpy as np

from jobs import item_side
from jobs.kernels import lists as kernel
from jobs.kernels.histories import Histories, one_history
from jobs.ready import check_ready
from schemas.settings import Settings
from warehouse import item_side as item_side_files
from warehouse.layout import Release

TOLERANCE = 1e-5


def parity(
    release: Release,
    connection: sqlite3.Connection,
    settings: Settings,
    scale: tuple[float, float] | None,
    *,
    served: str,
    n_users: int,
) -> dict[str, float | int]:
    """Compare stored lists with lists of one user at a time: users compared, lists that are the same items in the same
    order, and the largest relative difference of a score, 0 where all are equal. Users are drawn by the release's seed.

    Raises CheckError where a ready list does not say what the tables say.
    """
    side = item_side.load(release, served)
    arrays, _ = item_side_files.load(release.model("items"))
    item_ids = arrays["item_ids"]
    users = [row[0] for row in connection.execute("select user_id from users")]
    drawn = sorted(random.Random(settings.seed).sample(users, min(n_users, len(users))))  # nosec B311  # a draw that anybody may repeat, not a secret
    n_same, largest = 0, 0.0
    for user in drawn:
        check_ready(connection, user)
        history = history_of(connection, user, item_ids, scale)
        lists = kernel.recommend(
            side, history, n=settings.n, explain_n=0, reasons_n=0, min_history=settings.min_history
        )
        stored = connection.execute(
            "select item_id, score from recommendations where user_id = ? order by rank", [user]
        ).fetchall()
        n_same += [row[0] for row in stored] == item_ids[lists.items].tolist()
        before = {row[0]: row[1] for row in stored}
        for item, score in zip(item_ids[lists.items].tolist(), lists.scores.tolist()):
            if item in before:
                largest = max(largest, abs(score - before[item]) / max(abs(before[item]), 1e-12))
    return {"n_users": len(drawn), "n_same_lists": n_same, "largest_relative_difference": largest}


def history_of(
    connection: sqlite3.Connection, user, item_ids: np.ndarray, scale: tuple[float, float] | None
) -> Histories:
    """One user's history from the ratings table; item_ids (n_items,) in order."""
    rows = connection.execute(
        "select item_id, rating, weight, rated_at from ratings where user_id = ? order by item_id", [user]
    ).fetchall()
    low, high = scale or (None, None)
    columns = list(zip(*rows)) or [()] * 4
    return one_history(item_ids, *columns, low=low, high=high)
