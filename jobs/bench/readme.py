"""The generated parts of the documents: data dictionary, settings, questions, growth. `python -m jobs.bench.readme` writes them again."""

from __future__ import annotations

from pathlib import Path

from jobs.bench.growth import growth_plot, PLOT, scale_table
from schemas.derive import data_dictionary
from schemas.settings import settings_table
from warehouse.queries import canned_queries

ROOT = Path(__file__).resolve().parents[2]


def questions() -> str:
    """A heading, the grain and the SQL of every question of warehouse/sql."""
    return (
        "\n\n".join(
            f"**{query['title']}** `{name}`\n\n{query['description']}\n\n```sql\n{query['sql']}\n```"
            for name, query in canned_queries().items()
        )
        + "\n"
    )


PARTS = {
    "schemas/README.md": {"data dictionary": data_dictionary, "settings": settings_table},
    "warehouse/sql/README.md": {"questions": questions},
    "jobs/bench/README.md": {"scale": scale_table},
}


def rendered(document: str, text: str) -> str:
    """A document's text with every generated part as it should be now. Raises ValueError if a part has no place."""
    for name, part in PARTS[document].items():
        start, stop = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
        before, _, rest = text.partition(start)
        _, end, after = rest.partition(stop)
        if not end:
            raise ValueError(f"{document} has no place for {name}: expected {start.strip()} ... {stop}")
        text = f"{before}{start}\n{part()}\n{stop}{after}"
    return text


if __name__ == "__main__":
    PLOT.write_text(growth_plot(), encoding="utf-8")
    for document in PARTS:
        path = ROOT / document
        path.write_text(rendered(document, path.read_text(encoding="utf-8")), encoding="utf-8")
