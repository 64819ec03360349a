"""Rows of recommendations and explanations, stored or just solved, as the rows of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels import lists as kernel, reasons as reason_kinds
from schemas import list_rows
from schemas.list_rows import GENRE, N, VALUE
from schemas.setting_groups import OFF
from serving.opened import OpenRelease


class Listed(NamedTuple):
    """One row of `recommendations`, without the user."""

    rank: int
    item_id: int | str
    score: float
    predicted_rating: float | None
    confidence: float | None
    source: str


class Reason(NamedTuple):
    """One row of `explanations`, without user and position; evidence_id has the type of the release's item ids."""

    item_id: int | str
    kind: str
    evidence_id: int | str | None
    contribution: float | None
    detail: dict[str, Any]


def listed(opened: OpenRelease, lists: kernel.Lists) -> list[Listed]:
    """The kernel's list of one user as rows."""
    columns = lists.named_columns(opened.item_ids, opened.served_model)
    return [Listed(*values) for values in zip(*(_nulls(columns[name]) for name in Listed._fields))]


def reasons(opened: OpenRelease, lists: kernel.Lists) -> list[Reason]:
    """The kernel's reasons of one user as rows, in the order of the list."""
    rows = []
    numbers = lists.items[lists.reason_rows]
    targets = opened.item_ids[numbers].tolist()
    is_own = (lists.kinds == reason_kinds.HISTORY) & (lists.evidence == numbers) & (opened.repeats != OFF)
    columns = (lists.kinds.tolist(), lists.evidence.tolist(), _nulls(lists.contributions), lists.values.tolist(), is_own.tolist())
    for item, kind, evidence, contribution, value, own in zip(targets, *columns):
        name, shown = reason_kinds.KINDS[kind], None
        detail: dict[str, Any] = {} if value != value else {VALUE[name]: round(value, 6)}
        if kind == reason_kinds.HISTORY:
            shown = opened.item_id(evidence)
            detail = {N: int(value)} if own else detail
        elif kind == reason_kinds.GENRE:
            shown = opened.genres[evidence]
        elif kind == reason_kinds.SIMILAR_USERS:
            detail = {N: evidence, **detail}
        elif kind == reason_kinds.RESIDUAL:
            detail = {VALUE[name]: int(value)}
        rows.append(Reason(item, name, shown, contribution, detail))
    return rows


def stored_reason(
    opened: OpenRelease, item_id: Any, kind: str, evidence: str | None, contribution: float | None, detail: str | None
) -> Reason:
    """A row of `explanations` as it is stored."""
    shown = opened.ids.parse("item_id", evidence) if kind == "history" and evidence is not None else evidence
    return Reason(item_id, kind, shown, contribution, json.loads(detail) if detail else {})


def row(opened: OpenRelease, entry: Listed, its_reasons: Iterable[Reason]) -> dict[str, Any]:
    """A row of /recommend: where it stands, what it is, and why. The contributions and the residual sum to the score."""
    shown, residual = [], None
    for reason in its_reasons:
        if reason.kind == "residual":
            residual = reason.contribution
        else:
            shown.append(shown_reason(opened, reason))
    rank, item_id, *scored = entry
    return list_rows.row((rank, item_id, opened.title(item_id), *scored, shown, residual))


def shown_reason(opened: OpenRelease, reason: Reason) -> dict[str, Any]:
    """{kind, item_id, title, contribution} and what the kind adds: the rating given, the genre and its match, a count."""
    is_item = reason.kind == "history"
    item = (reason.evidence_id, opened.title(reason.evidence_id)) if is_item else (None, None)
    genre = {GENRE: reason.evidence_id} if reason.kind == "genre" else {}
    return list_rows.reason((reason.kind, *item, reason.contribution)) | genre | reason.detail


def _nulls(values: np.ndarray) -> list[Any]:
    return [None if value != value else value for value in values.tolist()]
