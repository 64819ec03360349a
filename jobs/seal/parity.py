"""Parity: sampled users' lists computed again, one by one, from the sealed tables and files alone; their ready lists too."""

from __future__ import annotations

import random
import sqlite3

from jobs.recommend.rendered_lists import check_ready
from jobs.staging.item_side import recommender as of_release
from schemas.settings import Settings
from warehouse.layout import Release
from warehouse.overlay import stored

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
    order, and the largest relative difference of a score, 0 if all are equal. Users are drawn by the release's seed.

    Raises CheckError if a ready list does not say what the tables say.
    """
    recommender = of_release(release, served, settings.recorded(), scale)
    item_ids = recommender.item_ids
    users = [row[0] for row in connection.execute("select user_id from users")]
    drawn = sorted(random.Random(settings.seed).sample(users, min(n_users, len(users))))  # nosec B311  # a draw that anybody may repeat, not a secret
    n_same, largest = 0, 0.0
    for user in drawn:
        check_ready(connection, user)
        lists = recommender.lists(recommender.history(stored(connection, user)), explain_n=0)
        rows = connection.execute("select item_id, score from recommendations where user_id = ? order by rank", [user]).fetchall()
        n_same += [row[0] for row in rows] == item_ids[lists.items].tolist()
        before = {row[0]: row[1] for row in rows}
        for item, score in zip(item_ids[lists.items].tolist(), lists.scores.tolist()):
            if item in before:
                largest = max(largest, abs(score - before[item]) / max(abs(before[item]), 1e-12))
    return {"n_users": len(drawn), "n_same_lists": n_same, "largest_relative_difference": largest}
