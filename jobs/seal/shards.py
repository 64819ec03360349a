"""The databases of a release's users, side by side: each Spark task writes one, whole or not at all."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from jobs.spark.session import spark_session
from jobs.spark.tasks import collect, map_parts
from jobs.staging.record import Step
from schemas.tables import IdTypes
from warehouse import parquet
from warehouse.atomic import replacing
from warehouse.layout import Release
from warehouse.shards import BY_USER, rows_of_shard
from warehouse.sqlite_build import Builder


def build_shards(running: Step, ids: IdTypes) -> int:
    """Write every shard from the joined tables; returns the rows written."""
    release, n = running.release, running.settings.shards
    with spark_session(running.settings, scratch=running.scratch) as spark:
        frame = map_parts(spark, n, lambda number: _shard(release, ids, number, n), "n_rows long")
        return pc.sum(collect(spark, frame, label="writing shards", n_tasks=n)["n_rows"]).as_py()


def _shard(release: Release, ids: IdTypes, number: int, n: int) -> pa.Table:
    n_rows = 0
    with replacing(release.shard(number)) as temporary:
        builder = Builder(temporary, ids)
        for table in BY_USER:
            blocks = parquet.blocks(release.table(table.name), table.names)
            n_rows += builder.add(table, (rows_of_shard(block, number, n) for block in blocks))
        builder.finish()
    return pa.table({"n_rows": pa.array([n_rows], pa.int64())})
