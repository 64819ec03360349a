"""SQL text: one file a query, its first comment line the title, the lines after it the description."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("sql")
# Questions whose answers are the charts of /analytics, in the order of the page; the first column says what a row is of.
CHARTS = (
    "interactions_by_month",
    "interactions_by_rating",
    "lists_by_genre",
    "lists_by_decade",
    "lists_by_age",
    "long_tail",
    "concentration",
    "lists_by_activity",
)


def canned_queries() -> dict[str, dict[str, str]]:
    """Every query of warehouse/sql as Datasette takes it: name to sql, title and description."""
    return {path.stem: _described(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.sql"))}


def _described(text: str) -> dict[str, str]:
    lines = text.strip().splitlines()
    comments = []
    while lines and lines[0].startswith("--"):
        comments.append(lines.pop(0).removeprefix("--").strip())
    return {"sql": "\n".join(lines).strip(), "title": comments[0], "description": " ".join(comments[1:])}
