"""The metrics of a release, computed once more from its sealed files alone, one user at a time."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest

from jobs.ingest import draws
from jobs.ingest.partition import VALIDATION_SHARE
from jobs.kernels.histories import one_history
from jobs.kernels.reasons import HISTORY
from jobs.staging.item_side import recommender
from tests.conftest import Built
from tests.jobs.kernels import plain
from warehouse import model_files as files


def kept_and_held(built: Built) -> list[tuple[list, list]]:
    """Rows of each user whose end was kept out for metrics: what is left, and what was kept out."""
    settings = built.manifest.settings
    with closing(sqlite3.connect(f"file:{built.release.database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("select user_id, item_id, rating, weight, rated_at, is_held_out from ratings order by user_id").fetchall()
    users = sorted({row[0] for row in rows if row[5]})
    drawn = draws.of_ids(pa.array(users), settings["seed"]) / 2.0**64
    users = {user for user, draw in zip(users, drawn) if draw >= settings["holdout_users"] * VALIDATION_SHARE}
    of_user: dict = {user: ([], []) for user in users}
    for row in rows:
        if row[0] in users:
            of_user[row[0]][row[5]].append(row)
    return list(of_user.values())


def test_what_is_liked_and_what_lies_below_the_mean_is_as_its_definition_says(movie_release: Built) -> None:
    manifest, settings = movie_release.manifest, movie_release.manifest.settings
    low, high = manifest.rating_scale
    item_ids = files.load(movie_release.release.model("items"))[0]["item_ids"]
    with closing(sqlite3.connect(f"file:{movie_release.release.database}?mode=ro", uri=True)) as connection:
        counted = (
            "select item_id, count(rating) filter (where is_held_out = 0) as n from items left join ratings using (item_id) group by 1"
        )
        n_of = dict(connection.execute(counted).fetchall())
        (mu,) = connection.execute("select avg(rating) from ratings where is_held_out = 0").fetchone()
    by_count = sorted(n_of, key=lambda item: (-n_of[item], item))
    is_rare = set(by_count[round(0.2 * sum(n > 0 for n in n_of.values())) :])
    for model in {manifest.served_model, "ease", "ials"}:
        answering = recommender(movie_release.release, model, settings, manifest.rating_scale)
        found: dict[str, list] = {
            name: [] for name in ("ndcg", "ndcg_liked", "hit_rate_liked", "ndcg_rare", "below_mean", "reasons_below_mean")
        }
        hits, there = dict.fromkeys(range(6), 0), dict.fromkeys(range(6), 0)
        lengths, of_length = [], []
        for kept, held in kept_and_held(movie_release):
            history = one_history(item_ids, *([row[c] for row in kept] for c in (1, 2, 3, 4)), low=low, high=high)
            lists = answering.lists(history, n=10, explain_n=10)
            listed, ratings = item_ids[lists.items].tolist(), [row[2] for row in kept]
            mean = (sum(ratings) + settings["bias_damping"] * mu) / (len(ratings) + settings["bias_damping"])
            liked = {row[1] for row in held if row[2] >= mean}
            found["ndcg"].append(plain.ndcg(listed, {row[1] for row in held}, 10))
            lengths.append(len(kept))
            if liked:
                found["ndcg_liked"].append(plain.ndcg(listed, liked, 10))
                of_length.append((len(kept), found["ndcg_liked"][-1]))
                found["hit_rate_liked"].append(plain.hit_rate(listed, liked, 10))
            if rare := {row[1] for row in held} & is_rare:
                found["ndcg_rare"].append(plain.ndcg(listed, rare, 10))
            found["below_mean"].append(np.mean([predicted < mean for predicted in lists.predicted]))
            reasons = [value < mean for kind, value in zip(lists.kinds, lists.values) if kind == HISTORY]
            if reasons:
                found["reasons_below_mean"].append(np.mean(reasons))
            for row in held:
                there[math.floor(row[2])] += 1
                hits[math.floor(row[2])] += row[1] in listed
        rows = {row["metric"]: row for row in manifest.metrics if (row["model"], row["protocol"]) == (model, "held_out_last")}
        short, middle = (sorted(lengths)[third * (len(lengths) - 1) // 3] for third in (1, 2))
        for third, (above, upto) in {"short": (0, short), "middle": (short, middle), "long": (middle, math.inf)}.items():
            found[f"ndcg_liked_{third}"] = [ndcg for length, ndcg in of_length if above < length <= upto]
        if model != manifest.served_model:
            del found["reasons_below_mean"]
        assert len(found["ndcg_liked"]) == sum(len(found[f"ndcg_liked_{third}"]) for third in ("short", "middle", "long"))
        for metric, values in found.items():
            assert values and rows[metric]["value"] == pytest.approx(np.mean(values), abs=1e-9), (model, metric)
            assert rows[metric]["n_users"] == len(values) and rows[metric]["low"] <= rows[metric]["value"] <= rows[metric]["high"]
        for star, n in there.items():
            if n:
                assert rows[f"recall_rated_{star}"]["value"] == pytest.approx(hits[star] / n)
            if n and model == manifest.served_model:
                assert rows[f"held_out_rated_{star}"]["value"] == pytest.approx(n / sum(there.values()))
