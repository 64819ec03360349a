"""Tags that users gave, gathered to a few an item."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Catalogue
from jobs.sources.accept import quarantine, Sieve
from jobs.sources.blocks import Block, Refusal

TAGS_PER_ITEM = 20


def counted(blocks: Iterable[Block]) -> tuple[pa.Table, list[Refusal]]:
    """Count how often each item got each tag, in lower case: columns item_id, tag, n; and the rows that were
    refused."""
    counts = pa.table({"item_id": pa.array([], pa.int64()), "tag": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    refused: list[Refusal] = []
    for block in blocks:
        sieve = Sieve(block)
        ids = sieve.id("item_id", "int64")
        tags = pc.replace_substring(pc.utf8_lower(pc.utf8_trim_whitespace(sieve.text("tag"))), "|", "/")
        sieve.refuse(pc.equal(tags, ""), lambda i: "tag is empty")
        rows = pa.table({"item_id": ids, "tag": tags, "n": pa.array([1] * len(ids), pa.int64())}).filter(pa.array(sieve.is_good))
        totals = pa.concat_tables([counts, rows]).group_by(["item_id", "tag"], use_threads=False).aggregate([("n", "sum")])
        counts = totals.rename_columns({"n_sum": "n"}).select(["item_id", "tag", "n"])
        refused += sieve.refusals()
    return counts, refused


def joined(counts: pa.Table) -> pa.Table:
    """One row an item: its commonest tags first, ties by the alphabet, joined by |. Columns item_id, tags."""
    counts = counts.sort_by([("item_id", "ascending"), ("n", "descending"), ("tag", "ascending")])
    lists = counts.group_by("item_id", use_threads=False).aggregate([("tag", "list")])
    tags = [("|".join(tags[:TAGS_PER_ITEM])) for tags in lists["tag_list"].to_pylist()]
    return pa.table({"item_id": lists["item_id"], "tags": pa.array(tags, pa.string())})


def with_tags(catalogue: Catalogue, blocks: Iterable[Block], source: str) -> Catalogue:
    """The catalogue with tags. Refused rows of tags are refused rows of the catalogue, and count as read."""
    counts, refused = counted(blocks)
    by_item = joined(counts)
    places = pc.index_in(catalogue.items["item_id"], value_set=by_item["item_id"].combine_chunks())
    tags = pc.take(by_item["tags"], places).fill_null("")
    items = catalogue.items.set_column(catalogue.items.schema.get_field_index("tags"), "tags", tags)
    refusals = pa.concat_tables([catalogue.refused, quarantine(source, sorted(refused))])
    return Catalogue(items, refusals, catalogue.n_read + len(refused))
