"""The table of what is known of users: attributes that a source has of them, of the users of the release alone."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import QUARANTINE_SCHEMA
from jobs.sources.users import Attributes, SCHEMA
from schemas.derive import arrow_schema
from schemas.tables import IdTypes, USER_ATTRIBUTES
from warehouse import parquet
from warehouse.forgotten import Forgotten
from warehouse.layout import Release


def read_attributes(blocks: Iterable[Attributes], known: Forgotten) -> Attributes:
    """All blocks as one; refused rows that name a forgotten user keep no text."""
    rows, refused, n_read = [SCHEMA.empty_table()], [QUARANTINE_SCHEMA.empty_table()], 0
    for block in blocks:
        texts = ["" if known.names(text) else text for text in block.refused["text"].to_pylist()]
        rows.append(block.rows)
        n_read += block.n_read
        refused.append(block.refused.set_column(2, QUARANTINE_SCHEMA.field("text"), pa.array(texts, pa.string())))
    return Attributes(pa.concat_tables(rows), pa.concat_tables(refused), n_read)


def write_attributes(release: Release, rows: pa.Table, ids: IdTypes) -> str:
    """Write the table, and say of how many users it is. Of several values of one name the first in the alphabet stands, so that the
    order of rows decides nothing."""
    users = pa.concat_tables(parquet.read(part, ["user_id"]) for part in parquet.parts(release.work / "users"))["user_id"]
    n_named = len(pc.unique(rows["user_id"]))
    rows = rows.filter(pc.is_in(rows["user_id"], value_set=users.cast(pa.string()).combine_chunks()))
    rows = rows.group_by(["user_id", "name"], use_threads=False).aggregate([("value", "min")]).rename_columns({"value_min": "value"})
    rows = rows.set_column(0, "user_id", rows["user_id"].cast(ids.arrow("user_id"))).sort_by(
        [("user_id", "ascending"), ("name", "ascending")]
    )
    parquet.write(release.table(USER_ATTRIBUTES.name), [rows.select(USER_ATTRIBUTES.names)], arrow_schema(USER_ATTRIBUTES, ids))
    n = len(pc.unique(rows["user_id"]))
    return f"{n:,} of the {len(users):,} users of the release are among the {n_named:,} of the file" if n_named else ""
