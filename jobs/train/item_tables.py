"""The tables and files about items that a trained release has: popular, similar_items, and the items' ids and genres."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession
from scipy.sparse import csr_matrix

from jobs.kernels.neighbours import factor_neighbours, sparse_neighbours
from jobs.kernels.spans import places, runs
from jobs.kernels.twins import Twins
from jobs.spark.tasks import collect, map_parts
from jobs.staging.record import Facts
from schemas.derive import arrow_schema
from schemas.setting_groups import OFF
from schemas.settings import Settings
from schemas.tables import POPULAR, SIMILAR_ITEMS
from warehouse import model_files, parquet
from warehouse.layout import Release

NEIGHBOUR_BLOCK = 2_000


def genre_names(release: Release) -> list[str]:
    return sorted(set(parquet.read(release.table("item_genres"), ["genre"])["genre"].to_pylist()))


def items_side(release: Release, items: pa.Table, genres: csr_matrix, settings: Settings) -> None:
    """Write what every list needs to know of the items: their ids in order of item_num, their genres, which of them are blocked, how
    a list is re-ranked, and whether it has what its user has."""
    ids = items["item_id"].to_numpy()
    ids = ids.astype(str) if ids.dtype == object else ids
    model_files.save(
        release.model("items"),
        {
            "item_ids": ids,
            "genre_indices": genres.indices.astype(np.int32),
            "genre_indptr": genres.indptr.astype(np.int64),
            "blocked": blocked(release),
            "first": _first(release),
        },
        {"genres": genre_names(release), "diversity": settings.diversity, "calibration": settings.calibration}
        | ({} if settings.repeats == OFF else {"repeats": settings.repeats}),
    )


def blocked(release: Release) -> np.ndarray:
    """item_nums (b,) that no list may hold."""
    return np.flatnonzero(parquet.read(release.table("items"), ["is_blocked"])["is_blocked"].to_numpy()).astype(np.int32)


def _first(release: Release) -> np.ndarray:
    """Place of the first of the items that an item is one with, (n_items,) int32; nothing if no item has another id."""
    items = parquet.read(release.table("items"), ["item_id", "same_item_id"])
    if items["same_item_id"].null_count == len(items):
        return np.zeros(0, np.int32)
    same = pc.coalesce(items["same_item_id"], items["item_id"])
    return pc.index_in(same, value_set=items["item_id"].combine_chunks()).to_numpy().astype(np.int32)


def twins(release: Release) -> Twins:
    """Return which items of a release are one."""
    return Twins(model_files.load(release.model("items"))[0]["first"])


def popular_table(release: Release, facts: Facts, settings: Settings) -> None:
    """The most popular items of all and of each genre, from the popular model's scores."""
    arrays, _ = model_files.load(release.model("popular"))
    items, genres = load_items(release)
    matrix = csr_matrix((np.ones(len(genres[1]), np.float32), genres[1], genres[0]), shape=(len(items), len(genres[2]))).tocsc()
    rated, alike = arrays["n_ratings"] > 0, twins(release)
    rated[blocked(release)] = False
    order = np.lexsort((np.arange(len(items)), -arrays["scores"]))
    order = order[rated[order]]
    place = np.full(len(items), len(items))
    place[order] = np.arange(len(order))
    blocks = []
    for name, numbers in [("", order)] + [
        (genre, matrix.indices[matrix.indptr[g] : matrix.indptr[g + 1]]) for g, genre in enumerate(genres[2])
    ]:
        numbers = numbers[rated[numbers]]
        numbers = numbers[np.argsort(place[numbers], kind="stable")]
        numbers = numbers[alike.once(numbers)][: settings.popular_n]
        means = arrays["damped_means"][numbers]
        blocks.append(
            pa.table(
                {
                    "genre": pa.array([name] * len(numbers), pa.string()),
                    "rank": np.arange(1, len(numbers) + 1),
                    "item_id": items.take(pa.array(numbers)),
                    "score": arrays["scores"][numbers],
                    "n_ratings": arrays["n_ratings"][numbers].astype(np.int64),
                    "damped_mean": pa.array(means, mask=np.isnan(means)),
                }
            )
        )
    parquet.write(release.table("popular"), blocks, arrow_schema(POPULAR, facts.ids))


def load_items(release: Release):
    """Item ids as an Arrow array, and (indptr, indices, names) of their genres."""
    arrays, parameters = model_files.load(release.model("items"))
    ids = parquet.read(release.table("items"), ["item_id"])["item_id"].combine_chunks()
    return ids, (arrays["genre_indptr"], arrays["genre_indices"], parameters["genres"])


def similar_table(release: Release, facts: Facts, settings: Settings, spark: SparkSession) -> None:
    """Neighbours of every item by content and by who liked it, blocks of items as Spark tasks."""
    ids, _ = load_items(release)
    n_items, n = len(ids), settings.similar_n
    n_blocks, excluded, alike = -(-n_items // NEIGHBOUR_BLOCK), blocked(release), twins(release)
    n_asked = n + len(excluded) + alike.more(n + 1)
    folder, schema = release.work / "similar_items", arrow_schema(SIMILAR_ITEMS, facts.ids)
    for old in parquet.parts(folder):
        old.unlink()

    def produce(number: int) -> pa.Table:
        block = np.arange(number * NEIGHBOUR_BLOCK, min((number + 1) * NEIGHBOUR_BLOCK, n_items))
        tables = []
        for source, neighbours in (("collaborative", _collaborative), ("content", _content)):
            numbers, others, cosines = _without(excluded, alike, n, *neighbours(release, settings, block, n_asked))
            tables.append(
                pa.table(
                    {
                        "item_id": ids.take(pa.array(numbers)),
                        "source": pa.array([source] * len(numbers), pa.string()),
                        "rank": places(runs(numbers)) + 1,
                        "similar_item_id": ids.take(pa.array(others)),
                        "similarity": cosines,
                    }
                )
            )
        rows = pa.concat_tables(tables).sort_by([("item_id", "ascending"), ("source", "ascending"), ("rank", "ascending")])
        parquet.write(parquet.part(folder, number), [rows], schema)
        return pa.table({"n_rows": pa.array([len(rows)], pa.int64())})

    collect(spark, map_parts(spark, n_blocks, produce, "n_rows long"), label="finding similar items", n_tasks=n_blocks)


def _without(excluded: np.ndarray, alike: Twins, n: int, numbers: np.ndarray, others: np.ndarray, cosines: np.ndarray):
    """The first n neighbours of each item that are neither excluded nor one with it or with a nearer one; numbers (m,) ascend, the
    nearest of each first."""
    kept = np.flatnonzero(~np.isin(others, excluded))
    if len(alike.first):
        kept = kept[alike.first[others[kept]] != alike.first[numbers[kept]]]
        pairs = numbers[kept].astype(np.int64) * len(alike.first) + alike.first[others[kept]]
        kept = kept[np.sort(np.unique(pairs, return_index=True)[1])]
    numbers, others, cosines = numbers[kept], others[kept], cosines[kept]
    near = places(runs(numbers)) < n
    return numbers[near], others[near], cosines[near]


def _collaborative(release: Release, settings: Settings, block: np.ndarray, n: int):
    if not model_files.exists(release.model("ials")):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    arrays, _ = model_files.load(release.model("ials"))
    return factor_neighbours(np.asarray(arrays["item_factors"]), block, n)


def _content(release: Release, settings: Settings, block: np.ndarray, n: int):
    if not model_files.exists(release.model("content")):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    arrays, parameters = model_files.load(release.model("content"))
    shape = (len(arrays["indptr"]) - 1, parameters["n_features"])
    return sparse_neighbours(csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape), block, n)
