"""Stored lists and reasons as JSON text on the short way: no objects are built only to be written out again.

What is written here is, to twelve digits, what `rows.row` makes of the same rows; a test holds them together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from serving.answers import compact
from serving.opened import OpenRelease

LIST = """select rank, item_id, score, predicted_rating, confidence, source from recommendations
where user_id = ? and rank > ? order by rank limit ?"""
REASONS = """select e.item_id, e.kind, e.evidence_id, e.contribution, e.detail
from recommendations r cross join explanations e on e.user_id = r.user_id and e.item_id = r.item_id
where r.user_id = ? and r.rank > ? and r.rank <= ? order by r.rank, e.position"""


def encoded_list(opened: OpenRelease, entries: Iterable[tuple], found: Iterable[tuple]) -> str | None:
    """The rows of LIST with those of REASONS as a JSON array; None where a row has no reasons stored."""
    reasons: dict[Any, list[str]] = {}
    residuals: dict[Any, float] = {}
    current, texts = None, []
    for item_id, kind, evidence, contribution, detail in found:
        if item_id != current:
            current, texts = item_id, reasons.setdefault(item_id, [])
        if kind == "residual":
            residuals[item_id] = contribution
            continue
        head = reason_head(opened, kind, evidence)
        share = "null" if contribution is None else f"{contribution:.12g}"
        texts.append(f"{head}{share},{detail[1:]}" if detail else f"{head}{share}}}")
    title, is_number = opened.title_json, opened.ids.item_id == "int64"
    rows = []
    for rank, item_id, score, predicted, confidence, source in entries:
        if item_id not in reasons:
            return None
        residual = residuals.get(item_id)
        rows.append(
            f'{{"rank":{rank},"item_id":{item_id if is_number else compact(item_id)},"title":{title(item_id)},"score":{score:.12g},'
            f'"predicted_rating":{_number(predicted)},"confidence":{_number(confidence)},"source":"{source}",'
            f'"reasons":[{",".join(reasons[item_id])}],"residual":{_number(residual)}}}'
        )
    return f"[{','.join(rows)}]"


def _number(value: float | None) -> str:
    """Twelve digits: half the time of all seventeen, and more than any score has."""
    return "null" if value is None else f"{value:.12g}"


def reason_head(opened: OpenRelease, kind: str, evidence: str | None) -> str:
    """A reason up to its contribution; its `detail`, JSON itself, ends it."""
    if kind == "history":
        item_id = int(evidence) if opened.ids.item_id == "int64" else evidence
        shown = evidence if opened.ids.item_id == "int64" else compact(evidence)
        return f'{{"kind":"history","item_id":{shown},"title":{opened.title_json(item_id)},"contribution":'
    genre = f',"genre":{compact(evidence)}' if kind == "genre" else ""
    return f'{{"kind":"{kind}","item_id":null,"title":null{genre},"contribution":'


def stored_list(opened: OpenRelease, user_id: Any, after: int, n: int) -> tuple[list[tuple], list[tuple]]:
    """Rows of LIST and REASONS of one page."""
    connection: sqlite3.Connection = opened.connection
    return (
        connection.execute(LIST, (user_id, after, n)).fetchall(),
        connection.execute(REASONS, (user_id, after, after + n)).fetchall(),
    )
