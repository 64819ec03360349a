"""Every metric of the table `metrics`: its meaning, and whether more or less of it is better."""

from __future__ import annotations

from typing import NamedTuple

from schemas.setting_groups import LIKED

MORE, LESS, NEITHER = "more", "less", ""
RARE_ROWS = "of held-out rows of the least popular four fifths of the items"
LIKED_ROWS = "of held-out rows at or above the user's own damped mean"
BY_HISTORY = {  # thirds of the held-out users, as the names of metrics say it
    "_short": "of the third of the users with the shortest histories",
    "_middle": "of the third of the users with histories between",
    "_long": "of the third of the users with the longest histories",
}


class Metric(NamedTuple):
    meaning: str
    better: str = NEITHER


METRICS = {
    "ndcg_liked": Metric(f"nDCG {LIKED_ROWS}", MORE),
    "ndcg": Metric("nDCG of all held-out rows", MORE),
    "hit_rate_liked": Metric(f"share of users with a hit, {LIKED_ROWS}", MORE),
    "hit_rate": Metric("share of users with a hit", MORE),
    "recall_liked": Metric(f"share found {LIKED_ROWS}", MORE),
    "recall": Metric("share of the held-out rows that was found", MORE),
    "ndcg_rare": Metric(f"nDCG {RARE_ROWS}", MORE),
    "hit_rate_rare": Metric(f"share of users with a hit, {RARE_ROWS}", MORE),
    "recall_rare": Metric(f"share found {RARE_ROWS}", MORE),
    **{f"ndcg_liked{third}": Metric(f"nDCG {LIKED_ROWS}, {who}", MORE) for third, who in BY_HISTORY.items()},
    **{f"ndcg{third}": Metric(f"nDCG of all held-out rows, {who}", MORE) for third, who in BY_HISTORY.items()},
    "below_mean": Metric("share of the listed rows that are predicted below the user's own damped mean", LESS),
    "reasons_below_mean": Metric("share of the rows shown as reasons that the user rated below their own damped mean", LESS),
    "rmse": Metric("root of the mean squared error of predicted ratings", LESS),
    "coverage": Metric("share of all items that are in at least one list", MORE),
    "gini": Metric("how unequally the items share the places of the lists, 0 to 1", LESS),
    "ndcg_liked_over_served": Metric("ndcg_liked less that of the served model, of the same users"),
    "ndcg_over_served": Metric("ndcg less that of the served model, of the same users"),
    "ndcg_cost_of_finishing": Metric("ndcg that diversity and calibration cost", LESS),
    "intra_list_diversity": Metric("1 - mean cosine of the contents of a list's pairs", MORE),
    "intra_list_diversity_before_finishing": Metric("the same, before diversity and calibration"),
    "miscalibration": Metric("how far the genres of a list are from those of the history", LESS),
    "miscalibration_before_finishing": Metric("the same, before diversity and calibration"),
    "overlap_with_champion": Metric("share of the promoted release's stored first ten that are in the new ones"),
    "items_already_seen": Metric("listed items that the user has; expected 0 where nothing may come again", LESS),
    "short_lists": Metric("lists that are shorter than they could be; expected 0", LESS),
}
BY_STAR = {
    "recall_rated_": Metric("share found of the held-out rows of this many stars; by chance alike for all"),
    "held_out_rated_": Metric("share of this many stars among the held-out rows"),
}


def metric_of(name: str) -> Metric:
    """Return what a metric means. Raises KeyError for one that is not declared."""
    for prefix, metric in BY_STAR.items():
        if name.startswith(prefix):
            return metric
    return METRICS[name]


def deciding(relevance: str, *, is_rated: bool) -> str:
    """The metric that models are chosen and releases are judged by, of the held-out rows that the setting `relevance` counts.
    Without ratings every row counts."""
    return "ndcg_liked" if is_rated and relevance == LIKED else "ndcg"
