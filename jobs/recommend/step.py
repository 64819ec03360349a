"""recommend: every user's list, its reasons and its head ready to be sent, one pass over the users, a part a Spark task."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.kernels import lists as kernel, reasons
from jobs.recommend.rendered_lists import ready_lists, Titles
from jobs.spark.session import spark_session
from jobs.spark.tasks import collect, map_parts
from jobs.staging.checkpoints import Finished, key_of
from jobs.staging.histories import Part, read_part
from jobs.staging.item_side import recommender
from jobs.staging.record import code_digest, Facts, facts, served_model, Step
from jobs.train.item_tables import load_items
from schemas.derive import arrow_schema
from schemas.list_rows import N, VALUE
from schemas.settings import Settings
from schemas.tables import EXPLANATIONS, READY_LISTS, RECOMMENDATIONS, Table
from warehouse import parquet
from warehouse.layout import Release

log = logging.getLogger("cinematch")

USERS_PER_BLOCK = 2_000
TABLES = (RECOMMENDATIONS, EXPLANATIONS, READY_LISTS)
COUNTS = ("n_users", "n_recommendations", "n_explanations")


def recommend(running: Step) -> None:
    """Parts that an earlier attempt finished with the same settings and models are kept."""
    release, settings = running.release, running.settings
    facts_of_release = facts(release)
    served = served_model(release)
    made_with = list_settings(settings) | {"serve": served, "code": code_digest()}
    finished = Finished(release.work / "recommended", key_of(release, ("ingest", "train"), made_with))
    missing = [number for number in range(facts_of_release.n_parts) if finished[number] is None]
    if len(missing) < facts_of_release.n_parts:
        log.info("recommend: %d of %d parts are there already", facts_of_release.n_parts - len(missing), facts_of_release.n_parts)
    _drop_others(release, set(range(facts_of_release.n_parts)) - set(missing))
    if missing:
        with spark_session(settings, scratch=running.scratch) as spark:
            produce = _Producer(release, facts_of_release, settings, served, finished)
            frame = map_parts(spark, len(missing), lambda place: produce(missing[place]), "n long")
            collect(spark, frame, label="computing lists and reasons", n_tasks=len(missing))
    for name in COUNTS:
        running.figures[name] = sum(finished[number][name] for number in range(facts_of_release.n_parts))
    running.figures["n_parts_kept"] = facts_of_release.n_parts - len(missing)


def _drop_others(release: Release, kept: set[int]) -> None:
    """Remove part files that belong to no finished part."""
    for table in TABLES:
        folder = release.work / table.name
        names = {parquet.part(folder, number) for number in kept}
        for path in parquet.parts(folder):
            if path not in names:
                path.unlink()


class _Producer:
    """One part of each of the TABLES, as a Spark task."""

    def __init__(self, release: Release, facts_of_release: Facts, settings: Settings, served: str, finished: Finished) -> None:
        self._release, self._facts, self._settings, self._served, self._finished = release, facts_of_release, settings, served, finished

    def __call__(self, number: int) -> pa.Table:
        part = read_part(self._release, number, self._facts)
        titles = Titles(parquet.read(self._release.table("items"), ["item_id", "title"]))
        with ExitStack() as stack:
            writers = [stack.enter_context(self._writer(table, number)) for table in TABLES]
            for start in range(0, len(part.histories), USERS_PER_BLOCK):  # a part of short histories has very many users
                for writer, rows in zip(writers, self._tables(part, start, titles)):
                    writer.add(rows)
        counts = [len(part.histories), *(writer.n_rows for writer in writers)]
        self._finished[number] = dict(zip(COUNTS, counts))
        return pa.table({"n": pa.array([1], pa.int64())})

    def _writer(self, table: Table, number: int) -> parquet.Writer:
        path = parquet.part(self._release.work / table.name, number)
        return parquet.Writer(path, arrow_schema(table, self._facts.ids))

    def _tables(self, part: Part, start: int, titles: Titles) -> tuple[pa.Table, pa.Table, pa.Table]:
        stop = min(start + USERS_PER_BLOCK, len(part.histories))
        block = part.histories.block(start, stop)
        lists = recommender(self._release, self._served, self._settings.recorded(), self._facts.rating_scale).lists(block)
        names = _Names(self._release, part.user_ids.slice(start, stop - start), self._served)
        rows, because = names.recommendations(lists), names.explanations(lists)
        return rows, because, ready_lists(rows, because, titles, explain_n=self._settings.explain_n)


def list_settings(settings: Settings) -> dict[str, int]:
    """Return the settings that decide a release's lists, as keywords of the kernel."""
    return {name: getattr(settings, name) for name in ("n", "explain_n", "reasons_n", "min_history")}


class _Names:
    """From the kernel's arrays to table rows: numbers to ids, tiers to sources, values to details."""

    def __init__(self, release: Release, user_ids: pa.Array, served: str) -> None:
        self._user_ids, (self._item_ids, (_, _, self._genres)) = user_ids, load_items(release)
        self._sources = pa.array(kernel.sources(served))

    def recommendations(self, lists: kernel.Lists) -> pa.Table:
        numbers = lists.columns()
        columns = numbers | {
            "user_id": self._user_ids.take(pa.array(lists.owners)),
            "item_id": self._item_ids.take(pa.array(lists.items)),
            "source": self._sources.take(pa.array(lists.tiers)),
            "model_rank": pa.array(lists.model_ranks, mask=lists.model_ranks == 0),
            **{name: _nullable(numbers[name]) for name in ("predicted_rating", "confidence")},
        }
        return pa.table({column.name: columns[column.name] for column in RECOMMENDATIONS.columns})

    def explanations(self, lists: kernel.Lists) -> pa.Table:
        """Rows in key order: by user, then item, then position."""
        items = lists.items[lists.reason_rows]
        users = lists.owners[lists.reason_rows]
        order = np.lexsort((lists.reason_positions, items, users))
        kinds, evidence, values = lists.kinds[order], lists.evidence[order], lists.values[order]
        return pa.table(
            {
                "user_id": self._user_ids.take(pa.array(users[order])),
                "item_id": self._item_ids.take(pa.array(items[order])),
                "position": lists.reason_positions[order].astype(np.int64),
                "kind": pa.array(reasons.KINDS).take(pa.array(kinds)),
                "evidence_id": self._evidence(kinds, evidence),
                "contribution": _nullable(lists.contributions[order]),
                "detail": _details(kinds, evidence, values, is_own=(kinds == reasons.HISTORY) & (evidence == items[order])),
            }
        )

    def _evidence(self, kinds: np.ndarray, evidence: np.ndarray) -> pa.Array:
        def named(kind: int, names: pa.Array) -> pa.Array:
            return names.cast(pa.string()).take(pa.array(evidence, mask=kinds != kind))

        return pc.coalesce(named(reasons.HISTORY, self._item_ids), named(reasons.GENRE, pa.array(self._genres, pa.string())))


def _details(kinds: np.ndarray, evidence: np.ndarray, values: np.ndarray, *, is_own: np.ndarray) -> pa.Array:
    """{"rating": 4.5} for a rated item, {"n": 5} for how often the user had the item itself, {"match": 0.83} for a genre, {"over_mean": 0.4} for a bias (nothing for popularity),
    {"n": 57} for the items that a residual sums,
    {"n": 12, "mean_rating": 4.1} for the similar users who have the item."""
    texts = pa.array(np.round(values, 6)).cast(pa.string())
    whole = pa.array(np.nan_to_num(values).astype(np.int64)).cast(pa.string())
    shown = pc.if_else(pa.array((kinds == reasons.RESIDUAL) | is_own), whole, texts)
    keys = [f'"{VALUE[kind]}": ' for kind in reasons.KINDS] + [f'"{N}": ']
    keys = [key if kind == reasons.SIMILAR_USERS else "{" + key for kind, key in enumerate(keys)]
    names = pa.array(keys).take(pa.array(np.where(is_own, len(reasons.KINDS), kinds)))
    joined = pc.binary_join_element_wise(names, shown, "}", "")
    entries = pc.if_else(pa.array(np.isnan(values)), pa.scalar(None, pa.string()), joined)
    counted = pc.binary_join_element_wise(f'{{"{N}": ', pa.array(evidence).cast(pa.string()), "")
    similar = pc.binary_join_element_wise(counted, pc.fill_null(pc.binary_join_element_wise(", ", entries, ""), "}"), "")
    return pc.if_else(pa.array(kinds == reasons.SIMILAR_USERS), similar, entries)


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))
