"""Stored lists and reasons as JSON on the short way: no objects are built only to be written out again.

What is given here is, key by key, what `rows.row` and `rows.shown_reason` make of the same rows; tests hold them together.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from serving.answers import number_json, value_json
from serving.opened import OpenRelease

READY = "select n_rows, source, rows from ready_lists where user_id = ?"
LIST = """select rank, item_id, score, predicted_rating, confidence, source from recommendations
where user_id = ? and rank > ? order by rank limit ?"""
REASONS = """select e.item_id, e.kind, e.evidence_id, e.contribution, e.detail
from recommendations r cross join explanations e on e.user_id = r.user_id and e.item_id = r.item_id
where r.user_id = ? and r.rank > ? and r.rank <= ? order by r.rank, e.position"""


class Ready(NamedTuple):
    """The head of a list: its rows as JSON, how many they are, and the source of the first."""

    n_rows: int
    source: str
    text: bytes


def ready_list(opened: OpenRelease, user_id: Any, n: int) -> Ready | None:
    """The first n rows as `ready_lists` has them; n may be up to opened.ready_n."""
    found = opened.of_user(user_id).execute(READY, (user_id,)).fetchone()
    if found is None:
        return None
    n_rows, source, packed = found
    text = zlib.decompress(packed)
    if n < n_rows:  # a row a line
        n_rows, text = n, b"\n".join(text.split(b"\n", n)[:n])[:-1] + b"]"
    return Ready(n_rows, source, text)


def encoded_list(opened: OpenRelease, entries: Iterable[tuple[Any, ...]], found: Iterable[tuple[Any, ...]]) -> bytes | None:
    """The rows of LIST with those of REASONS as a JSON array; None where a row has no reasons stored."""
    reasons: dict[Any, list[str]] = {}
    residuals: dict[Any, float] = {}
    current, texts = None, []
    for item_id, kind, evidence, contribution, detail in found:
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
            f'{{"rank":{rank},"item_id":{value_json(item_id)},"title":{value_json(opened.title(item_id))},"score":{value_json(score)},'
            f'"predicted_rating":{value_json(predicted)},"confidence":{value_json(confidence)},"source":"{source}",'
            f'"reasons":[{",".join(reasons[item_id])}],"residual":{value_json(residuals.get(item_id))}}}'
        )
    return f"[{','.join(rows)}]".encode()


def encoded_reason(opened: OpenRelease, kind: str, evidence: str | None, contribution: float | None, detail: str | None) -> str:
    """A reason's keys and values and the brace that ends it; `detail` is JSON itself."""
    if kind == "history":
        item_id = int(evidence or "") if opened.ids.item_id == "int64" else evidence
        head = f'"kind":"history","item_id":{value_json(item_id)},"title":{value_json(opened.title(item_id))}'
    else:
        genre = f',"genre":{value_json(evidence)}' if kind == "genre" else ""
        head = f'"kind":"{kind}","item_id":null,"title":null{genre}'
    share = "null" if contribution is None else number_json(contribution)
    return f'{head},"contribution":{share}{"," + detail[1:] if detail else "}"}'


def stored_list(opened: OpenRelease, user_id: Any, after: int, n: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of LIST and REASONS of one page."""
    connection = opened.of_user(user_id)
    return (
        connection.execute(LIST, (user_id, after, n)).fetchall(),
        connection.execute(REASONS, (user_id, after, after + n)).fetchall(),
    )
