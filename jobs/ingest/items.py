"""The items of a release: those of the catalogue and those that only interactions name, numbered in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Catalogue
from schemas.derive import arrow_schema
from schemas.errors import SettingError
from schemas.tables import IdTypes, ITEM_GENRES, ITEMS
from warehouse import parquet
from warehouse.layout import Release


def numbered_items(catalogue: Catalogue, seen: pa.Array, ids: IdTypes) -> pa.Table:
    """Catalogue items and those that only interactions name, in order of id: the row of an item is its item_num."""
    kind = ids.arrow("item_id")
    known = catalogue.items.set_column(0, "item_id", catalogue.items["item_id"].cast(kind))
    known = known.append_column("is_in_catalogue", pa.array(np.ones(len(known), bool)))
    seen = seen.cast(kind)
    new = seen.filter(pc.invert(pc.is_in(seen, value_set=known["item_id"].combine_chunks())))
    blank = pa.array([""] * len(new), pa.string())
    rest = pa.table(
        {
            "item_id": new,
            "title": new.cast(pa.string()),
            "year": pa.nulls(len(new), pa.int64()),
            "genres": blank,
            "tags": blank,
            "description": pa.nulls(len(new), pa.string()),
            "is_in_catalogue": pa.array(np.zeros(len(new), bool)),
        }
    )
    items = pa.concat_tables([known.select(rest.column_names).cast(rest.schema), rest]).combine_chunks()
    untitled = pc.or_kleene(pc.is_null(items["title"]), pc.equal(pc.utf8_trim_whitespace(pc.fill_null(items["title"], "")), ""))
    titles = pc.if_else(untitled, items["item_id"].cast(pa.string()), items["title"])
    items = items.set_column(1, "title", titles)
    for name in ("genres", "tags"):
        items = items.set_column(items.column_names.index(name), name, pc.fill_null(items[name], ""))
    return items.sort_by("item_id").combine_chunks()


def blocked_ids(path: str) -> pa.Array:
    """The ids in a file of blocked items, one a line, as text; none without a file. Raises SettingError if it cannot be read."""
    if not path:
        return pa.array([], pa.string())
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise SettingError(f"blocked: {path} is no regular file; expected a text file, an item id a line")
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"blocked: {path} cannot be read ({error}); expected a text file, an item id a line") from None
    return pa.array([line for line in lines if line], pa.string())


def blocked_items(ids: pa.Array, hidden: Iterable[str], items: pa.Table, first: np.ndarray) -> np.ndarray:
    """Tell which items (n_items,) no list may hold.

    An id that this release does not know is no fault, since files outlive catalogues.

    Parameters
    ----------
    ids : (k,) text, of a file of blocked items
    hidden : ids, as text, that were hidden online: with each goes all that is the same under another id
    items : the items of the release
    first : (n_items,) of `first_of_same`
    """
    texts = items["item_id"].cast(pa.string())
    is_hidden = pc.is_in(texts, value_set=pa.array(sorted(hidden), pa.string())).to_numpy()
    return pc.is_in(texts, value_set=ids).to_numpy() | np.isin(first, first[is_hidden])


def first_of_same(items: pa.Table) -> np.ndarray:
    """Items that are one thing under several ids: for each item (n_items,) int32 the place of the first with its title and year, its
    own where it is alone.

    Titles are compared without case, punctuation and the year that ends them. Only titles of the catalogue count, and only with a
    year: two films of one name and year are one film, but a shop has forty articles called mug.
    """
    titles = pc.replace_substring_regex(pc.utf8_lower(items["title"].combine_chunks()), r"\(\d{4}\)\s*$", "")
    titles = pc.utf8_trim_whitespace(pc.replace_substring_regex(titles, r"[^\pL\pN]+", " "))
    is_known = pc.and_(items["is_in_catalogue"].combine_chunks(), pc.is_valid(items["year"].combine_chunks()))
    is_known = pc.and_(is_known, pc.not_equal(items["title"], items["item_id"].cast(pa.string())).combine_chunks())
    is_known = pc.and_(is_known, pc.not_equal(titles, "")).to_numpy(zero_copy_only=False)
    first, places = np.arange(len(items), dtype=np.int32), np.flatnonzero(is_known)
    keys = pc.binary_join_element_wise(titles, items["year"].combine_chunks().cast(pa.string()), "|").filter(pa.array(is_known))
    codes = keys.dictionary_encode().indices.to_numpy()
    first[places] = places[np.unique(codes, return_index=True)[1]][codes]
    return first


def same_item_id(first: np.ndarray, ids: pa.Array) -> pa.Array:
    """The id of the first item of each group, (n_items,), null for an item that is alone."""
    is_alone = np.bincount(first, minlength=len(first))[first] == 1
    return ids.take(pa.array(first, mask=is_alone))


def examples(items: pa.Table, same: pa.Array, n: int = 3) -> list[tuple[str, list]]:
    """Titles of the first n groups of one thing, and the ids of each."""
    named = pa.table({"same_item_id": same, "title": items["title"], "item_id": items["item_id"]}).filter(pc.is_valid(same))
    grouped = named.group_by("same_item_id", use_threads=False).aggregate([("title", "first"), ("item_id", "list")]).slice(0, n)
    return list(zip(grouped["title_first"].to_pylist(), grouped["item_id_list"].to_pylist()))


def write_item_tables(
    release: Release, items: pa.Table, ids: IdTypes, n_parts: int, *, is_rated: bool, is_blocked: np.ndarray, same: pa.Array
) -> None:
    """The items and item_genres tables, and the counts to train on; sums in the order of parts, so they repeat."""
    totals = {name: np.zeros(len(items)) for name in ("n_ratings", "rating_sum", "n_train", "train_sum")}
    for number in range(n_parts):
        counts = parquet.read(parquet.part(release.work / "item_counts", number))
        for name, total in totals.items():
            total[counts["item_num"].to_numpy()] += counts[name].to_numpy()
    n = totals["n_ratings"]
    means = pa.array(totals["rating_sum"] / np.maximum(n, 1), mask=(n == 0) | (not is_rated))
    full = items.append_column("n_ratings", pa.array(n.astype(np.int64))).append_column("mean_rating", means)
    full = full.append_column("is_blocked", pa.array(is_blocked)).append_column("same_item_id", same)
    parquet.write(release.table("items"), [full], arrow_schema(ITEMS, ids))
    genres = pc.split_pattern(items["genres"].combine_chunks(), "|")
    pairs = pa.table({"genre": pc.list_flatten(genres), "item_id": items["item_id"].take(pc.list_parent_indices(genres))})
    pairs = pairs.filter(pc.not_equal(pairs["genre"], "")).group_by(["genre", "item_id"]).aggregate([])
    pairs = pairs.sort_by([("genre", "ascending"), ("item_id", "ascending")])
    parquet.write(release.table("item_genres"), [pairs], arrow_schema(ITEM_GENRES, ids))
    np.savez(release.work / "item_counts.npz", **totals)
