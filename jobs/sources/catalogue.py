"""The item catalogue: one row an item, from a file of items or from what the interactions say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Catalogue
from jobs.sources.accept import quarantine, Sieve
from jobs.sources.blocks import Block

ATTRIBUTES = ("title", "year", "genres", "tags", "description")
NO_GENRES = ("(no genres listed)", "unknown")
_YEAR_AT_END = r"\((?P<year>\d{4})(?:\s*[-\x{2013}]\s*(?:\d{4})?)?\)\s*$"
_YEAR_AT_START = r"^\s*(?P<year>[12]\d{3})(?:\D|$)"
_LAST_YEAR = r"(?P<year>[12]\d{3})\s*$"
YEARS = (1000, 3000)


def schema(item_id_type: str | None) -> pa.Schema:
    """Columns of `Catalogue.items`."""
    kind = pa.int64() if item_id_type == "int64" else pa.string()
    texts = {name: pa.string() for name in ATTRIBUTES} | {"year": pa.int64()}
    return pa.schema([("item_id", kind), *texts.items()])


def empty(item_id_type: str | None) -> Catalogue:
    """No catalogue at all; the items are then those of the interactions."""
    return Catalogue(schema(item_id_type).empty_table(), quarantine("", []), 0)


def from_items(blocks: Iterable[Block], source: str, item_id_type: str | None, floats: frozenset[str] = frozenset()) -> Catalogue:
    """The catalogue of a file of items. Of several rows with one id the first is taken and the others are
    refused."""
    first_lines: dict[int | str, int] = {}
    accepted, refused = [], []
    for block in blocks:
        sieve = Sieve(block, floats)
        ids = sieve.id("item_id", item_id_type)
        if item_id_type != "int64":
            ids = ids.cast(pa.string())
        texts = {name: joined(sieve, name) for name in ATTRIBUTES if name in block.columns}
        keys, lines = ids.to_pylist(), block.lines.tolist()
        is_later = np.zeros(len(keys), dtype=bool)
        for i in np.flatnonzero(sieve.is_good).tolist():
            is_later[i] = first_lines.setdefault(keys[i], lines[i]) != lines[i]
        sieve.refuse(is_later, lambda i: f"item_id {keys[i]} is already on line {first_lines[keys[i]]}")
        rows = described(ids, texts)
        accepted.append(rows.filter(pa.array(sieve.is_good)))
        refused += sieve.refusals()
    items = pa.concat_tables(accepted) if accepted else schema(item_id_type).empty_table()
    return Catalogue(items, quarantine(source, sorted(refused)), items.num_rows + len(refused))


def from_interactions(blocks: Iterable[Block], item_id_type: str | None, floats: frozenset[str] = frozenset()) -> Catalogue:
    """The catalogue that rows of interactions carry: of each item the commonest value that is not empty, of
    equally common ones the first in the alphabet, so that the order of rows decides nothing. Refuses nothing, as the rows themselves are judged as interactions."""
    merged: dict[str, pa.Table] = {}
    known = pa.table({"item_id": pa.array([], pa.int64() if item_id_type == "int64" else pa.string())})
    for block in blocks:
        sieve = Sieve(block, floats)
        ids = sieve.id("item_id", item_id_type)
        is_good = pa.array(sieve.is_good)
        known = pa.concat_tables([known, pa.table({"item_id": ids}).filter(is_good)]).group_by("item_id", use_threads=False).aggregate([])
        for name in ATTRIBUTES:
            if name in block.columns:
                rows = pa.table({"item_id": ids, name: joined(sieve, name, is_lenient=True)}).filter(is_good)
                rows = rows.filter(pc.not_equal(rows[name], ""))
                rows = rows.append_column("n", pa.array(np.ones(len(rows), np.int64)))
                rows = pa.concat_tables([merged[name], rows]) if name in merged else rows
                counted = rows.group_by(["item_id", name], use_threads=False).aggregate([("n", "sum")])
                merged[name] = counted.rename_columns({"n_sum": "n"})
    for name, rows in merged.items():
        rows = rows.sort_by([("n", "descending"), (name, "ascending")]).select(["item_id", name])
        commonest = rows.group_by("item_id", use_threads=False).aggregate([(name, "first")])
        known = known.join(commonest.rename_columns({f"{name}_first": name}), "item_id", use_threads=False)
    known = known.sort_by("item_id").combine_chunks()
    texts = {name: known[name].combine_chunks().fill_null("") for name in merged}
    items = described(known["item_id"].combine_chunks(), texts)
    return Catalogue(items, quarantine("", []), items.num_rows)


def described(ids: pa.Array, texts: Mapping[str, pa.Array]) -> pa.Table:
    """Items from ids and the texts there are: genres and tags joined by |, the year as a number."""
    title = texts.get("title", pa.array([""] * len(ids), pa.string()))
    columns = {
        "item_id": ids,
        "title": title,
        "year": pc.coalesce(_year(texts["year"]), year_of_title(title)) if "year" in texts else year_of_title(title),
        "genres": _listed(texts.get("genres"), len(ids)),
        "tags": _listed(texts.get("tags"), len(ids)),
        "description": _null_if_empty(texts.get("description"), len(ids)),
    }
    return pa.table(columns, schema=schema("int64" if ids.type == pa.int64() else None))


def year_of_title(titles: pa.Array) -> pa.Array:
    """The year in brackets that ends a title; of a span the first."""
    return _bounded(pc.extract_regex(titles, _YEAR_AT_END))


def _year(texts: pa.Array) -> pa.Array:
    """A year, alone or as a part of a date such as 1999-03-31 or 31-Mar-1999."""
    return pc.coalesce(_bounded(pc.extract_regex(texts, _YEAR_AT_START)), _bounded(pc.extract_regex(texts, _LAST_YEAR)))


def _bounded(matches: pa.Array) -> pa.Array:
    years = pc.struct_field(matches, "year").cast(pa.int64())
    return pc.if_else(pc.and_(pc.greater_equal(years, YEARS[0]), pc.less_equal(years, YEARS[1])), years, None)


def joined(sieve: Sieve, name: str, *, is_lenient: bool = False) -> pa.Array:
    """A column as trimmed text; a list of values joined by |."""
    values = sieve.block.columns[name]
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = pc.binary_join(values.cast(pa.list_(pa.string())), "|")
    elif is_lenient and pa.types.is_binary(values.type):
        values = readable(values)
    else:
        values = sieve.text(name)
    return pc.utf8_trim_whitespace(values.fill_null(""))


def readable(values: pa.Array) -> pa.Array:
    r"""Bytes as text, what is not UTF-8 as \xNN."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode("utf-8", errors="backslashreplace") for value in values.to_pylist()], pa.string())


def _listed(texts: pa.Array | None, n: int) -> pa.Array:
    """Values joined by |, whatever one of | ; , the column has them joined by."""
    if texts is None:
        return pa.array([""] * n, pa.string())
    separator = next((mark for mark in "|;," if pc.any(pc.match_substring(texts, mark)).as_py()), "|")
    if separator != "|":
        texts = pc.replace_substring(texts, separator, "|")
    texts = pc.replace_substring_regex(texts, r"\s*\|[\s|]*", "|")
    texts = pc.replace_substring_regex(texts, r"^[\s|]+|[\s|]+$", "")
    return pc.if_else(pc.is_in(texts, pa.array(NO_GENRES)), "", texts)


def _null_if_empty(texts: pa.Array | None, n: int) -> pa.Array:
    if texts is None:
        return pa.nulls(n, pa.string())
    return pc.if_else(pc.equal(texts, ""), None, texts)
