"""ready_lists: the head of each list as /recommend sends it, text made a column at a time from the rows that it says again."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import CheckError
from schemas.list_rows import as_json, GENRE, REASON, reason as reason_of, ROW, row as row_of
from schemas.tables import READY_N

LEVEL = 1  # of zlib: three quarters of what the best level saves, in half its time
_LIST = """select rank, l.item_id, i.title, score, predicted_rating, confidence, source
from recommendations l join items i on i.item_id = l.item_id where user_id = ? and rank <= ? order by rank"""
_REASONS = """select kind, evidence_id, contribution, detail, i.item_id, i.title
from explanations e left join items i on e.kind = 'history' and i.item_id = cast(e.evidence_id as {kind})
where e.user_id = ? and e.item_id = ? order by position"""


class Titles:
    """Ids and titles of the items as JSON text, in order of item_num."""

    def __init__(self, items: pa.Table) -> None:
        self.ids = items["item_id"].combine_chunks()
        texts = self.ids.cast(pa.string())
        self.ids_as_text = texts
        self.ids_as_json = texts if pa.types.is_integer(self.ids.type) else _quoted(texts)
        self.as_json = _quoted(items["title"].combine_chunks())


def ready_lists(lists: pa.Table, reasons: pa.Table, titles: Titles, *, explain_n: int) -> pa.Table:
    """Rows of `ready_lists` from those of `recommendations` and `explanations` of the same whole users, in key order."""
    lists = lists.filter(pc.less_equal(lists["rank"], min(READY_N, explain_n or READY_N)))
    starts = np.flatnonzero(lists["rank"].to_numpy() == 1)
    lengths = np.diff(np.append(starts, len(lists)))
    users = lists["user_id"].take(pa.array(starts))
    numbers = pc.index_in(lists["item_id"], value_set=titles.ids)
    explained = _rows_of(reasons, lists, users, lengths, numbers, titles)
    texts = _joined_texts(_row_texts(lists, numbers, explained, titles), np.append(starts, len(lists)), ",\n")
    return pa.table(
        {
            "user_id": users,
            "n_rows": lengths.astype(np.int64),
            "source": lists["source"].take(pa.array(starts)),
            "rows": pa.array([zlib.compress(b"[%b]" % text.as_buffer(), LEVEL) for text in texts], pa.binary()),
        }
    )


def _rows_of(reasons, lists, users, lengths, numbers, titles) -> pa.Table:
    """The reasons of these rows, in the order of the rows, with `row`: the row that each belongs to."""
    n_items, owners = len(titles.ids), np.repeat(np.arange(len(users)), lengths)
    wanted = owners * n_items + numbers.to_numpy()
    order = np.argsort(wanted)
    users_of = pc.index_in(reasons["user_id"], value_set=users.combine_chunks()).fill_null(-1).to_numpy()
    pairs = users_of.astype(np.int64) * n_items + pc.index_in(reasons["item_id"], value_set=titles.ids).to_numpy()
    place = np.minimum(np.searchsorted(wanted[order], pairs), max(len(wanted) - 1, 0))
    kept = np.flatnonzero(wanted[order][place] == pairs) if len(wanted) else np.zeros(0, np.int64)
    rows = order[place[kept]]
    in_order = np.argsort(rows, kind="stable")
    return reasons.take(pa.array(kept[in_order])).append_column("row", pa.array(rows[in_order]))


def _row_texts(lists: pa.Table, numbers, explained: pa.Table, titles: Titles) -> pa.Array:
    is_rest = pc.equal(explained["kind"], "residual")
    rest, shown = explained.filter(is_rest), explained.filter(pc.invert(is_rest))
    residuals = np.full(len(lists), np.nan)
    residuals[rest["row"].to_numpy()] = rest["contribution"].to_numpy()
    ends = np.searchsorted(shown["row"].to_numpy(), np.arange(len(lists) + 1))
    its_reasons = pc.binary_join_element_wise("[", _joined_texts(_reason_texts(shown, titles), ends, ","), "]", "")
    columns = (
        lists["rank"].cast(pa.string()),
        titles.ids_as_json.take(numbers.combine_chunks()),
        titles.as_json.take(numbers.combine_chunks()),
        _number(lists["score"]),
        _number(lists["predicted_rating"]),
        _number(lists["confidence"]),
        _json(lists["source"]),
        its_reasons,
        _number(pa.array(residuals, mask=np.isnan(residuals))),
    )
    return pc.binary_join_element_wise(*_with_keys(ROW, columns), "}", "")


def _with_keys(keys: Iterable[str], columns: Iterable[Any]) -> list[Any]:
    """The columns with the text before each value."""
    return [part for pair in zip(as_json(keys), columns, strict=True) for part in pair]


def _reason_texts(shown: pa.Table, titles: Titles) -> pa.Array:
    """{"kind":"history","item_id":7,"title":"...","contribution":0.4,"rating": 4.5}; `detail` is JSON itself and ends it."""
    is_item, is_genre = pc.equal(shown["kind"], "history"), pc.equal(shown["kind"], "genre")
    evidence = pc.index_in(shown["evidence_id"], value_set=titles.ids_as_text).combine_chunks()
    null, nothing = pa.scalar("null"), pa.scalar("")
    genre = pc.binary_join_element_wise(f',"{GENRE}":', _json(shown["evidence_id"].fill_null("")), "")
    detail = pc.fill_null(pc.utf8_slice_codeunits(shown["detail"], 1), "}")
    columns = (
        _json(shown["kind"]),
        pc.if_else(is_item, titles.ids_as_json.take(evidence), null),
        pc.if_else(is_item, titles.as_json.take(evidence), null),
        _number(shown["contribution"]),
    )
    comma = pc.if_else(pc.equal(detail, "}"), nothing, pa.scalar(","))
    return pc.binary_join_element_wise(*_with_keys(REASON, columns), pc.if_else(is_genre, genre, nothing), comma, detail, "")


def _joined_texts(texts: pa.Array | pa.ChunkedArray, ends: np.ndarray, separator: str) -> pa.Array:
    """Runs of texts, cut at ends, each run as one text."""
    flat = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat), separator)


def _number(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The shortest text that is the same number, with a point where it is a whole one: 5.0."""
    texts = values.cast(pa.string())
    is_bare = pc.invert(pc.match_substring_regex(texts, "[.e]"))
    return pc.fill_null(pc.if_else(is_bare, pc.binary_join_element_wise(texts, ".0", ""), texts), "null")


def _json(texts: pa.ChunkedArray) -> pa.Array:
    """Few different texts, as JSON."""
    coded = texts.combine_chunks().dictionary_encode()
    return _quoted(coded.dictionary).take(coded.indices)


def _quoted(texts: pa.Array) -> pa.Array:
    return pa.array([json.dumps(text, ensure_ascii=False) for text in texts.to_pylist()], pa.string())


def check_ready(connection: sqlite3.Connection, user: Any) -> None:
    """Raise CheckError unless a user's ready list says, key by key, what the tables say."""
    stored = connection.execute("select n_rows, rows from ready_lists where user_id = ?", [user]).fetchone()
    n_rows, ready = (stored[0], json.loads(zlib.decompress(stored[1]))) if stored else (0, [])
    expected = head_of(connection, user, n_rows)
    if ready != expected:
        raise CheckError(f"user {user!r}: the ready list differs from the tables: {ready!r:.300}, expected {expected!r:.300}")


def head_of(connection: sqlite3.Connection, user: Any, n: int) -> list[dict[str, Any]]:
    """The first rows of a user's list as /recommend shows them, read from the tables one by one: the slow twin."""
    kind = connection.execute("select type from pragma_table_info('items') where name = 'item_id'").fetchone()[0]
    rows = []
    for rank, item, title, *scored in connection.execute(_LIST, [user, n]).fetchall():
        shown, residual = [], None
        for name, evidence, contribution, detail, other, other_title in connection.execute(_REASONS.format(kind=kind), [user, item]):
            if name == "residual":
                residual = contribution
                continue
            reason = reason_of((name, other, other_title, contribution))
            genre = {GENRE: evidence} if name == "genre" else {}
            shown.append(reason | genre | (json.loads(detail) if detail else {}))
        rows.append(row_of((rank, item, title, *scored, shown, residual)))
    return rows
