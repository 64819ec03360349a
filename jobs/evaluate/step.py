"""evaluate: score the users whose last interactions were kept out of training, from the rest of their history.

Protocol `held_out_last`: for a sample of users, the last share of the history in time is kept out of training; their list
is computed from what is left, by the same function as every list, and compared with what was kept out. One training
serves evaluation and release. The promoted release answers for the same users, and the verdict says whether this one may
take its place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.evaluate import champion as champions
from jobs.evaluate.champion import Champion
from jobs.evaluate.user_scores import (
    BEFORE_RERANKING,
    BY_STAR,
    CHAMPION,
    DEPTH,
    PROTOCOL,
    RANKED_METRICS,
    RARE,
    rows_of,
    SCORES,
    SUFFIXES,
    TOP,
    UserScores,
)
from jobs.evaluate.verdict import judge
from jobs.ingest import data_guard
from jobs.kernels import relevance, spans
from jobs.kernels.evaluation import list_metrics, metrics
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.lists import Lists
from jobs.kernels.reasons import HISTORY
from jobs.kernels.recommender import Recommender
from jobs.models.base.scoring import predicted
from jobs.spark.session import spark_session
from jobs.spark.tasks import collect, map_parts
from jobs.staging.histories import Part, read_part, TEST
from jobs.staging.item_side import recommender
from jobs.staging.record import Facts, facts, record, served_model, Step
from jobs.train.item_tables import load_items
from schemas.derive import arrow_schema
from schemas.models import RANKERS, RATER
from schemas.setting_groups import ALL, LIKED, OFF, ONLY
from schemas.settings import Settings
from schemas.tables import METRICS
from warehouse import parquet
from warehouse.layout import Release, Warehouse


def evaluate(running: Step, warehouse: Warehouse) -> None:
    release, settings = running.release, running.settings
    facts_of_release = facts(release)
    served = served_model(release)
    data = data_guard.guard_again(warehouse, release, facts_of_release, settings)
    champion, rival = champions.find(warehouse, release, facts_of_release, data, settings)
    folder = release.work / "evaluation"
    for old in parquet.parts(folder):
        old.unlink()
    with spark_session(settings, scratch=running.scratch) as spark:
        frame = map_parts(spark, facts_of_release.n_parts, _Scorer(release, facts_of_release, settings, served, champion), "n_users long")
        collect(spark, frame, label="ranking for held-out users", n_tasks=facts_of_release.n_parts)
    scored = UserScores.read(folder, n_items=parquet.n_rows(release.table("items")))
    stars = relevance.stars(*facts_of_release.rating_scale) if facts_of_release.rating_scale else np.zeros(0)
    rows = rows_of(scored, settings, served=served, rater=RATER, stars=stars)
    trained = record(release, "train")
    rows += trained["facts"]["validation"]
    rows.sort(key=lambda row: tuple(row[name] for name in METRICS.key))
    schema = arrow_schema(METRICS, facts_of_release.ids)
    parquet.write(release.table("metrics"), [pa.Table.from_pylist(rows, schema=schema)], schema)
    verdict = judge(scored, settings, served=served, rater=RATER, rival=rival, doubt=trained["figures"]["doubt"])
    running.facts["verdict"] = verdict | {"data": data} | ({"note": rival.note} if rival.note else {})
    measured = [row for row in rows if row["protocol"] == PROTOCOL]
    running.figures["n_held_out_users"] = max((row["n_users"] for row in measured), default=0)
    for row in measured:
        suffix = f"_at_{row['k']}" if row["k"] else ""
        running.figures[f"{row['model']}_{row['metric']}{suffix}"] = round(row["value"], 5)
    running.figures |= {"verdict": verdict["decision"], "reason": verdict["reason"]}


class _Scorer:
    """A Spark task that scores every model, and the champion, for each held-out user of one part."""

    def __init__(self, release: Release, facts_of_release: Facts, settings: Settings, served: str, champion: Champion | None) -> None:
        self._release, self._facts, self._settings, self._served, self._champion = release, facts_of_release, settings, served, champion
        self._rankers = [name for name in RANKERS if release.model(name).exists()]
        self._is_rare = list_metrics.is_rare(np.load(release.work / "item_counts.npz")["n_train"])

    def __call__(self, number: int) -> pa.Table:
        part = read_part(self._release, number, self._facts)
        kept, held = part.held_out(TEST)
        side = self._recommender(self._served).side
        popular = self._recommender(self._served).unpersonal().popular(kept, n=DEPTH, explain_n=0)
        blocks = [self._scores("popular", popular, kept, held)]
        for name in self._rankers:
            lists = self._recommender(name).lists(kept, n=DEPTH, explain_n=TOP if name == self._served else 0)
            of_lists = _of_lists(side, lists, kept) | _of_reasons(side, lists, kept) if name == self._served else {}
            blocks.append(self._scores(name, lists, kept, held) | of_lists)
        if side.reranking is not None:
            lists = replace(self._recommender(self._served), side=replace(side, reranking=None)).lists(kept, n=DEPTH, explain_n=0)
            blocks.append(self._scores(BEFORE_RERANKING, lists, kept, held) | _of_lists(side, lists, kept))
        if side.rater is not None:
            blocks.append(_errors(RATER, side, kept, held))
        if self._champion is not None:
            blocks.append(self._champions(part, kept, held))
        blocks = [pa.table(block, schema=SCORES) for block in blocks]
        parquet.write(parquet.part(self._release.work / "evaluation", number), blocks, SCORES)
        return pa.table({"n_users": pa.array([len(kept)], pa.int64())})

    def _recommender(self, model: str) -> Recommender:
        return recommender(self._release, model, self._settings.recorded(), self._facts.rating_scale)

    def _champions(self, part: Part, kept: Histories, held: Histories) -> dict[str, Any]:
        """The champion's scores, whose rows it knows, and how far its stored lists are those that will be stored now."""
        champion, users = self._champion, part.held_out_users(TEST)
        item_ids, user_ids = load_items(self._release)[0], part.user_ids.take(pa.array(users)).to_pylist()
        held_ids = item_ids.take(pa.array(held.items)).to_pylist()
        columns = self._scores(CHAMPION, champion.lists(kept, DEPTH), kept, held)
        if (side := champion.recommender.side).rater is not None:
            errors = _errors(CHAMPION, side, champion.histories(kept), held, champion.numbers)
            columns |= {name: errors[name] for name in ("squared_error", "n_rated")}
        now = self._recommender(self._served).lists(part.histories.take(users), n=DEPTH, explain_n=0)
        shared = []
        for k, before in enumerate(champion.stored(user_ids, TOP)):
            head = item_ids.take(pa.array(now.items[now.indptr[k] : now.indptr[k + 1]][:TOP])).to_pylist()
            shared.append(len(set(head) & set(before)) / max(len(head), 1) if before else None)
        return columns | {
            "is_left_out": champion.knows(user_ids, np.split(np.array(held_ids), held.indptr[1:-1])),
            "overlap": pa.array(shared, pa.float64()),
        }

    def _scores(self, model: str, lists: Lists, kept: Histories, held: Histories) -> dict[str, Any]:
        """One row a user, as arrays by column of SCORES."""
        side = self._recommender(self._served).side
        means = side.means(kept)
        top = metrics.fixed_width(lists.indptr, lists.items, DEPTH)
        columns: dict[str, Any] = {}
        liked, rare = held.select(relevance.is_liked(held, means)), held.select(self._is_rare[held.items])
        for counted, rows in ((ALL, held), (LIKED, liked), (RARE, rare)):
            hit, n_held = metrics.hit_table(top, rows.indptr, rows.items, side.n_items), np.diff(rows.indptr)
            columns |= {f"{name}{SUFFIXES[counted]}_at_{k}": measure(hit[:, :k], n_held) for name, k, measure in RANKED_METRICS}
        owners = lists.owners
        is_first = np.arange(len(owners)) - lists.indptr[owners] < TOP
        seen = metrics.hit_table(top, kept.indptr, kept.items, side.n_items)
        possible = np.minimum(DEPTH, self._n_listable(side, kept))
        return (
            _blank(model, len(kept))
            | columns
            | self._by_star(top[:, :TOP], held, side.n_items)
            | {
                "below_mean": relevance.share_below(lists.predicted[is_first], owners[is_first], means),
                "top": pa.FixedSizeListArray.from_arrays(pa.array(top[:, :TOP].ravel(), pa.int32()), TOP),
                "n_kept": np.diff(kept.indptr),
                "n_seen": seen.sum(axis=1),
                "is_short": np.diff(lists.indptr) < possible,
            }
        )

    def _n_listable(self, side: ItemSide, kept: Histories) -> np.ndarray:
        """Count the items that each user's list may have at least, (u,)."""
        if side.repeats == ONLY:
            left = (np.setdiff1d(kept.user(k).items, side.blocked) for k in range(len(kept)))
            return np.array([len(side.twins.once(items)) for items in left], np.int64)
        n = len(side.twins.once(np.setdiff1d(np.arange(side.n_items), side.blocked)))
        return n - (np.diff(kept.indptr) if side.repeats == OFF else np.zeros(len(kept), np.int64))

    def _by_star(self, top: np.ndarray, held: Histories, n_items: int) -> dict[str, Any]:
        """Count the held-out rows of each star, and those that the first ten have; nothing without ratings."""
        if self._facts.rating_scale is None:
            return {}
        stars, owners = relevance.stars(*self._facts.rating_scale), spans.owners(held.indptr)
        users, places = np.nonzero(top >= 0)
        is_hit = np.isin(owners * n_items + held.items, users * n_items + top[users, places])
        counts = (relevance.counts_by_star(held.ratings[rows], owners[rows], len(held), stars) for rows in (is_hit, np.ones_like(is_hit)))
        return {name: pa.array(list(of), pa.list_(pa.int64())) for name, of in zip(BY_STAR, counts)}


def _of_lists(side: ItemSide, lists: Lists, kept: Histories) -> dict[str, np.ndarray]:
    """Measure how varied the first ten are, and how far their genres are from the history's; nothing if lists are not re-ranked."""
    if side.reranking is None:
        return {}
    top = metrics.fixed_width(lists.indptr, lists.items, TOP)
    columns = {"miscalibration": list_metrics.miscalibration(top, kept.weighted(side.n_items, np.inf), side.genres)}
    if side.reranking.features is not None:
        columns["intra_list_diversity"] = list_metrics.intra_list_diversity(top, side.reranking.features)
    return columns


def _of_reasons(side: ItemSide, lists: Lists, kept: Histories) -> dict[str, np.ndarray]:
    """Return the share of the reasons from the history that are rated below the user's mean."""
    ratings = np.where(lists.kinds == HISTORY, lists.values, np.nan)
    return {"reasons_below_mean": relevance.share_below(ratings, lists.owners[lists.reason_rows], side.means(kept))}


def _blank(model: str, n_users: int) -> dict[str, Any]:
    nothing = {field.name: pa.nulls(n_users, field.type) for field in SCORES if field.nullable}
    return nothing | {"model": [model] * n_users, "n_seen": np.zeros(n_users, int), "is_short": np.zeros(n_users, bool)}


def _errors(model: str, side: ItemSide, kept: Histories, held: Histories, numbers: np.ndarray | None = None) -> dict[str, Any]:
    """Mean squared error of each user's predicted ratings, and of how many. numbers (n_items,): what the rater calls an item, -1 for one
    that it does not know."""
    items = held.items if numbers is None else numbers[held.items]
    errors = (predicted(side.rater, kept, held.indptr, items) - held.ratings) ** 2
    means, n_rated = metrics.mean_per_user(errors, held.indptr)
    return _blank(model, len(kept)) | {"squared_error": means, "n_rated": n_rated}
