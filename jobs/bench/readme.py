"""The generated parts of README.md: data dictionary, settings, questions, growth. `python -m jobs.bench.readme` writes them again."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.bench.growth import growth_plot, PLOT, scale_table
from schemas.derive import data_dictionary
from schemas.settings import settings_table
from warehouse.queries import canned_queries

README = Path(__file__).resolve().parents[2] / "README.md"


def questions() -> str:
    """A heading, the grain and the SQL of every question of warehouse/sql."""
    return (
        "\n\n".join(
            f"**{query['title']}** `{name}`\n\n{query['description']}\n\n```sql\n{query['sql']}\n```"
            for name, query in canned_queries().items()
        )
        + "\n"
    )


PARTS = {"data dictionary": data_dictionary, "settings": settings_table, "questions": questions, "scale": scale_table}


def rendered(text: str) -> str:
    """README text with every generated part as it should be now. Raises ValueError where a part has no place."""
    for name, part in PARTS.items():
        start, stop = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(stop), re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for {name}: expected {start.strip()} ... {stop}")
        text = pattern.sub(lambda _: f"{start}\n{part()}\n{stop}", text)
    return text


if __name__ == "__main__":
    PLOT.write_text(growth_plot(), encoding="utf-8")
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
