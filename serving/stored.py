"""Stored lists and reasons as JSON on the short way: no objects are built only to be written out again.

What is given here is, key by key, what `rows.row` and `rows.shown_reason` make of the same rows; tests hold them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast, NamedTuple

from isal import isal_zlib

from schemas.list_rows import as_json, GENRE, REASON, ROW
from schemas.tables import EXPLANATION_KINDS
from serving.opened import OpenRelease
from serving.response import number_json, value_json

DAMAGED = cast(type[Exception], isal_zlib.error)
READY = "select n_rows, source, rows from ready_lists where user_id = ?"
LIST = """select rank, item_id, score, predicted_rating, confidence, source from recommendations
where user_id = ? and rank > ? order by rank limit ?"""
REASONS = """select e.item_id, e.kind, e.evidence_id, e.contribution, e.detail
from recommendations r cross join explanations e on e.user_id = r.user_id and e.item_id = r.item_id
where r.user_id = ? and r.rank > ? and r.rank <= ? order by r.rank, e.position"""


# The text before each value.
_RANK, _ITEM, _TITLE, _SCORE, _PREDICTED, _CONFIDENCE, _SOURCE, _REASONS, _RESIDUAL = as_json(ROW)
_KIND, _ITS_ITEM, _ITS_TITLE, _SHARE = as_json(REASON)
_OF_ITEM = f'{_KIND[1:]}"history"{_ITS_ITEM}'
_OF_KIND = {kind: f'{_KIND[1:]}"{kind}"{_ITS_ITEM}null{_ITS_TITLE}null{_SHARE}' for kind in EXPLANATION_KINDS}


class Ready(NamedTuple):
    """The head of a list: its rows as JSON, how many they are, and the source of the first."""

    n_rows: int
    source: str
    text: bytes


def ready_list(opened: OpenRelease, user_id: Any, n: int) -> Ready | None:
    """The first n rows as `ready_lists` has them; n may be up to opened.ready_n."""
    row = opened.of_user(user_id).execute(READY, (user_id,)).fetchone()
    if row is None:
        return None
    n_rows, source, packed = row
    text = isal_zlib.decompress(packed)
    if n < n_rows:  # a row a line
        n_rows, text = n, b"\n".join(text.split(b"\n", n)[:n])[:-1] + b"]"
    return Ready(n_rows, source, text)


def encoded_list(opened: OpenRelease, entries: Iterable[tuple[Any, ...]], explanations: Iterable[tuple[Any, ...]]) -> bytes | None:
    """The rows of LIST with those of REASONS as a JSON array; None if a row has no reasons stored."""
    reasons: dict[Any, list[str]] = {}
    residuals: dict[Any, float] = {}
    current, texts = None, []
    for item_id, kind, evidence, contribution, detail in explanations:
        if item_id != current:
            current, texts = item_id, reasons.setdefault(item_id, [])
        if kind == "residual":
            residuals[item_id] = contribution
        else:
            texts.append("{" + encoded_reason(opened, kind, evidence, contribution, detail))
    rows = []
    for rank, item_id, score, predicted, confidence, source in entries:
        if item_id not in reasons:
            return None
        rows.append(
            f"{_RANK}{rank}{_ITEM}{value_json(item_id)}{_TITLE}{value_json(opened.title(item_id))}{_SCORE}{value_json(score)}"
            f'{_PREDICTED}{value_json(predicted)}{_CONFIDENCE}{value_json(confidence)}{_SOURCE}"{source}"'
            f"{_REASONS}[{','.join(reasons[item_id])}]{_RESIDUAL}{value_json(residuals.get(item_id))}}}"
        )
    return f"[{','.join(rows)}]".encode()


def encoded_reason(opened: OpenRelease, kind: str, evidence: str | None, contribution: float | None, detail: str | None) -> str:
    """A reason's keys and values and the brace that ends it; `detail` is JSON itself."""
    share = "null" if contribution is None else number_json(contribution)
    if kind == "history":
        item_id = int(evidence or "") if opened.ids.item_id == "int64" else evidence
        head = f"{_OF_ITEM}{value_json(item_id)}{_ITS_TITLE}{value_json(opened.title(item_id))}{_SHARE}{share}"
    else:
        genre = f',"{GENRE}":{value_json(evidence)}' if kind == "genre" else ""
        head = f"{_OF_KIND[kind]}{share}{genre}"
    return f"{head},{detail[1:]}" if detail else f"{head}}}"


def stored_list(opened: OpenRelease, user_id: Any, after: int, n: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of LIST and REASONS of one page."""
    connection = opened.of_user(user_id)
    return (
        connection.execute(LIST, (user_id, after, n)).fetchall(),
        connection.execute(REASONS, (user_id, after, after + n)).fetchall(),
    )
