"""Rows of recommendations and explanations, stored or just solved, as the rows of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels import lists as kernel, reasons as reason_kinds
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
    sources = kernel.sources(opened.manifest.served_model)
    ids = opened.item_ids[lists.items].tolist()
    columns = (lists.scores.tolist(), _nulls(lists.predicted), _nulls(lists.confidence), lists.tiers.tolist())
    return [
        Listed(rank, item, score, predicted, confidence, sources[tier])
        for rank, (item, score, predicted, confidence, tier) in enumerate(zip(ids, *columns), 1)
    ]


def reasons(opened: OpenRelease, lists: kernel.Lists) -> list[Reason]:
    """The kernel's reasons of one user as rows, in the order of the list."""
    found = []
    targets = opened.item_ids[lists.items[lists.reason_rows]].tolist()
    columns = (lists.kinds.tolist(), lists.evidence.tolist(), _nulls(lists.contributions), lists.values.tolist())
    for item, kind, evidence, contribution, value in zip(targets, *columns):
        name = reason_kinds.KINDS[kind]
        if kind == reason_kinds.HISTORY:
            detail = {} if value != value else {"rating": round(value, 6)}
            found.append(Reason(item, name, opened.item_id(evidence), contribution, detail))
        elif kind == reason_kinds.GENRE:
            found.append(Reason(item, name, opened.genres[evidence], contribution, {"match": round(value, 6)}))
        elif kind == reason_kinds.SIMILAR_USERS:
            mean = {} if value is None or value != value else {"mean_rating": round(value, 6)}
            found.append(Reason(item, name, None, contribution, {"n": evidence, **mean}))
        elif kind == reason_kinds.BIAS:
            found.append(Reason(item, name, None, contribution, {} if value != value else {"over_mean": round(value, 6)}))
        else:
            found.append(Reason(item, name, None, contribution, {"n": int(value)}))
    return found


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
    return {
        "rank": entry.rank,
        "item_id": entry.item_id,
        "title": opened.title(entry.item_id),
        "score": entry.score,
        "predicted_rating": entry.predicted_rating,
        "confidence": entry.confidence,
        "source": entry.source,
        "reasons": shown,
        "residual": residual,
    }


def shown_reason(opened: OpenRelease, reason: Reason) -> dict[str, Any]:
    """{kind, item_id, title, contribution} and what the kind adds: the rating given, the genre and its match, a count."""
    is_item = reason.kind == "history"
    shown = {
        "kind": reason.kind,
        "item_id": reason.evidence_id if is_item else None,
        "title": opened.title(reason.evidence_id) if is_item else None,
        "contribution": reason.contribution,
    }
    if reason.kind == "genre":
        shown["genre"] = reason.evidence_id
    return shown | reason.detail


def _nulls(values: np.ndarray) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
