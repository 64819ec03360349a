"""Generated ratings in the two forms that benches start from: arrays to train on, and the CSV files of MovieLens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.kernels.histories import Histories, strength
from jobs.sources.sample import generate
from jobs.sources.sample_films import SMALL
from jobs.sources.sample_ratings import SCALE
from jobs.staging.interactions import Interactions, join_parts, TYPES, write_part


def scale_of(ratings: int) -> float:
    """Setting `scale` of a sample with so many ratings."""
    return ratings / SMALL[2]


def _parts(folder: Path, ratings: int, seed: int) -> Iterator[pa.Table]:
    """The rows of a sample, whole users at a time, in order."""
    folder.mkdir(parents=True)
    generate(folder, seed=seed, scale=scale_of(ratings))
    for path in sorted((folder / "ratings").glob("*.parquet")):
        yield pq.read_table(path)
        path.unlink()


def interactions_of(folder: Path, ratings: int, seed: int) -> Interactions:
    """So many generated ratings as a folder of arrays, user after user."""
    low, high = SCALE
    n_parts = 0
    for rows in _parts(folder / "sample", ratings, seed):
        indptr = np.append(np.unique(rows["user_id"].to_numpy(), return_index=True)[1], len(rows))
        values = rows["rating"].to_numpy()
        strengths = strength(values, np.ones(len(rows)), low=low, high=high)
        items = rows["item_id"].to_numpy().astype(np.int32) - 1
        write_part(folder, n_parts, Histories(indptr, items, strengths, values, np.zeros(len(rows), np.int64)))
        n_parts += 1
    for name in TYPES:
        join_parts(folder, name, n_parts)
    return Interactions.open(folder, pq.read_metadata(folder / "sample" / "items.parquet").num_rows)


def movielens_files(folder: Path, ratings: int, seed: int) -> Path:
    """So many generated ratings as the ratings.csv and movies.csv of a MovieLens folder."""
    target = folder / "csv"
    target.mkdir(parents=True)
    names = ["userId", "movieId", "rating", "timestamp"]
    writer = None
    for rows in _parts(folder / "sample", ratings, seed):
        rows = rows.select(["user_id", "item_id", "rating", "rated_at"]).rename_columns(names)
        writer = writer or pyarrow.csv.CSVWriter(target / "ratings.csv", rows.schema)
        writer.write_table(rows)
    if writer:
        writer.close()
    items = pq.read_table(folder / "sample" / "items.parquet")
    genres = pc.if_else(pc.equal(items["genres"], ""), "(no genres listed)", items["genres"])
    columns = {"movieId": items["item_id"], "title": items["title"], "genres": genres}
    pyarrow.csv.write_csv(pa.table(columns), target / "movies.csv")
    return target
