"""The session of a step, on this machine."""

from __future__ import annotations

import pyspark


def test_workers_take_pyspark_from_where_the_driver_does(spark):
    """Spark's own archive of it comes first in the path of a worker, and would be compiled anew in every session."""
    where = spark.sparkContext.range(2, numSlices=2).map(lambda _: __import__("pyspark").__file__).collect()
    assert where == [pyspark.__file__] * 2
