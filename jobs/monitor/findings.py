"""Findings of an audit: an answer to each of its questions, with the level of its concern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from warehouse.findings import Finding

LEVELS = ("ok", "warning", "error")


class Findings:
    """The findings of one audit, as they come."""

    def __init__(self, at: str, release_id: str) -> None:
        self.all: list[Finding] = []
        self._at, self._release = at, release_id

    def say(self, question: str, level: str, value: float | None, limit: float | None, message: str) -> None:
        value = None if value is None else round(float(value), 6)
        self.all.append(Finding(self._at, self._release, question, level, value, limit, message))

    def at_most(self, question: str, value: float, limit: float, what: str) -> None:
        self.say(question, "ok" if value <= limit else "warning", value, limit, what)

    def at_least(self, question: str, value: float, limit: float, what: str) -> None:
        self.say(question, "ok" if value >= limit else "warning", value, limit, what)


def newly_wrong(findings: Sequence[Finding], before: Sequence[dict[str, Any]]) -> list[Finding]:
    """Findings that are worse than when the same was last asked of the same release. What is damaged is always said."""
    last = {(entry["release"], entry["question"]): LEVELS.index(entry["level"]) for entry in before}
    return [
        finding
        for finding in findings
        if finding.level == "error" or LEVELS.index(finding.level) > last.get((finding.release, finding.question), LEVELS.index("ok"))
    ]


def figures(findings: Sequence[Finding]) -> dict[str, Any]:
    """The last line of the command."""
    return {
        "command": "audit",
        "release": findings[0].release,
        **{finding.question: finding.value for finding in findings},
        **{f"n_{level}": sum(finding.level == level for finding in findings) for level in LEVELS},
    }
