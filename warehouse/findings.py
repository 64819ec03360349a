"""Findings of a warehouse: what an audit, the data guard or a check of seal found, in a file that only grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from warehouse import journal
from warehouse.layout import Warehouse


@dataclass(frozen=True)
class Finding:
    """An answer to one question. value and limit are null where nothing could be measured; the message then says why."""

    at: str
    release: str
    question: str
    level: str
    value: float | None
    limit: float | None
    message: str


def keep(warehouse: Warehouse, findings: Iterable[Finding]) -> None:
    """Note findings for good; `catalog.db` has them when it is rebuilt."""
    journal.append(warehouse.findings, *map(asdict, findings))
