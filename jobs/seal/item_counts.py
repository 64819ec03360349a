"""Counts of rows that are by user: how an item was rated, how many lists have it, and how many interactions a month has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import ITEM_LISTS, ITEM_RATINGS, RATING_MONTHS

FIRST = 10
DAY = 86_400


def item_ratings(ratings: Iterable[pa.Table]) -> pa.Table:
    """Count the ratings of each item by their value, rows of ITEM_RATINGS in key order; rows without a rating are left out."""
    key = list(ITEM_RATINGS.key)
    counted = [block.filter(pc.is_valid(block["rating"])).group_by(key).aggregate([([], "count_all")]) for block in ratings]
    summed = pa.concat_tables(counted).group_by(key).aggregate([("count_all", "sum")])
    return summed.rename_columns({"count_all_sum": "n_ratings"}).select(ITEM_RATINGS.names).sort_by([(name, "ascending") for name in key])


def item_lists(recommendations: Iterable[pa.Table]) -> pa.Table:
    """Count the lists that have each item, rows of ITEM_LISTS in key order."""
    counted = []
    for block in recommendations:
        is_first = pc.less_equal(block["rank"], FIRST).cast(pa.int64())
        columns = pa.table({"item_id": block["item_id"], "rank": block["rank"], "is_first": is_first})
        counted.append(columns.group_by("item_id").aggregate([([], "count_all"), ("is_first", "sum"), ("rank", "min")]))
    summed = pa.concat_tables(counted).group_by("item_id").aggregate([("count_all", "sum"), ("is_first_sum", "sum"), ("rank_min", "min")])
    renamed = {"count_all_sum": "n_lists", "is_first_sum_sum": "n_first_tens", "rank_min_min": "best_rank"}
    return summed.rename_columns(renamed).select(ITEM_LISTS.names).sort_by("item_id")


def rating_months(ratings: Iterable[pa.Table]) -> pa.Table:
    """Count the interactions of each month, rows of RATING_MONTHS in key order; rows without a time are left out."""
    counted = []
    for block in ratings:
        days = pa.table({"day": pc.divide(block["rated_at"].drop_null(), DAY)})
        counted.append(days.group_by("day").aggregate([([], "count_all")]))
    by_day = pa.concat_tables(counted).group_by("day").aggregate([("count_all", "sum")])
    months = pa.array(np.datetime_as_string(by_day["day"].to_numpy().astype("datetime64[D]").astype("datetime64[M]")), pa.string())
    by_month = pa.table({"month": months, "n_ratings": by_day["count_all_sum"]}).group_by("month").aggregate([("n_ratings", "sum")])
    return by_month.rename_columns({"n_ratings_sum": "n_ratings"}).select(RATING_MONTHS.names).sort_by("month")
