"""The tables of accuracy of jobs/bench/README.md: `python -m jobs.bench.accuracy.readme --movielens PATH --retail PATH` measures them again.

Each case is one `cinematch bench accuracy`, run as it stands in the table's caption. A data set that is not given is left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import re
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

README = Path(__file__).resolve().parents[1] / "README.md"
START, STOP = "<!-- accuracy: measured -->\n", "<!-- accuracy: end -->"
RETAIL_COLUMNS = "user_id=CustomerID,item_id=StockCode,rated_at=InvoiceDate,weight=Quantity,title=Description"
HAS_TORCH = importlib.util.find_spec("torch") is not None  # `neural` is in the tables where it can be fitted
RANKING = "popular,content,user_neighbours,item_neighbours,transitions,ials,ease,hybrid" + HAS_TORCH * ",neural"


class Case(NamedTuple):
    """A column: what stands above it, the metric in it, and the options."""

    title: str
    metric: str
    options: tuple[str, ...]


IN_TIME = Case("last 20 % of each user", "ndcg_at_10", ("--protocol", "last_fraction", "--models", RANKING))
OF_LIKED = (
    IN_TIME._replace(title="the same, of what was liked", metric="ndcg_liked_at_10"),
    IN_TIME._replace(title="the same, listed below the user's mean", metric="below_mean_at_10"),
)
LESS_IS_BETTER = ("rmse", "below_mean_at_10")
MOVIELENS = (
    IN_TIME,
    *OF_LIKED,
    Case("random 25 % of each item", "ndcg_at_10", ("--protocol", "random_ratio", "--stratify", "item", "--models", f"{RANKING},als")),
    Case("last item against 99 (HR@10)", "hit_rate_at_10", ("--protocol", "leave_one_out", "--models", RANKING)),
    Case("5 folds (RMSE)", "rmse", ("--protocol", "kfold", "--models", "als,svd")),
)
SAMPLE = (IN_TIME, *OF_LIKED, Case("5 folds (RMSE)", "rmse", ("--protocol", "kfold", "--models", "als,svd")))
RETAIL = (Case("last 20 % of customers with 10 items or more", "ndcg_at_10", (*IN_TIME.options, "--min-items", "10")),)


def sources(movielens: str | None, retail: str | None) -> list[tuple[str, tuple[str, ...], tuple[Case, ...]]]:
    """Heading, options of the source, and cases of each data set."""
    data_sets = [("The built-in sample", ("--source", "sample"), SAMPLE)]
    if movielens:
        data_sets.append(("MovieLens ml-latest-small", ("--source", "movielens", "--path", movielens), MOVIELENS))
    if retail:
        options = ("--source", "table", "--path", retail, "--columns", RETAIL_COLUMNS)
        data_sets.append(("Online Retail, purchases without ratings", options, RETAIL))
    return data_sets


@functools.cache
def measured(options: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of one command; columns that are of the same command share them."""
    with tempfile.TemporaryDirectory(prefix="cinematch-accuracy-") as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "jobs.cli", "bench", "accuracy", *options, "--warehouse", folder, "--json", str(path)]
        print(" ".join(command), file=sys.stderr)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # nosec B603  # no shell; our own command, on this machine
        return json.loads(path.read_text(encoding="utf-8"))


def table(cases: tuple[Case, ...], rows_of_cases: list[list[dict[str, Any]]]) -> str:
    """Markdown: a row a model, in each column the figure and its interval, the best in bold."""
    models = list(dict.fromkeys(row["model"] for rows in rows_of_cases for row in rows))
    columns = [_cells(case, rows) for case, rows in zip(cases, rows_of_cases)]
    lines = ["| model | " + " | ".join(case.title for case in cases) + " |", "|---" * (len(cases) + 1) + "|"]
    lines += [f"| `{model}` | " + " | ".join(cells.get(model, "") for cells in columns) + " |" for model in models]
    return "\n".join(lines) + "\n"


def _cells(case: Case, rows: list[dict[str, Any]]) -> dict[str, str]:
    values = {row["model"]: row for row in rows if row["status"] == "trained" and row.get(case.metric) is not None}
    if not values:
        return {}
    best = (min if case.metric in LESS_IS_BETTER else max)(row[case.metric] for row in values.values())
    cells = {}
    for model, row in values.items():
        value = f"{row[case.metric]:.3f}"
        value = f"**{value}**" if row[case.metric] == best else value
        cells[model] = f"{value} ({row[f'{case.metric}_low']:.3f} to {row[f'{case.metric}_high']:.3f})"
    return cells


def written(text: str, tables: str) -> str:
    """The document with other tables. Raises ValueError if it has no place for them."""
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(STOP), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"jobs/bench/README.md has no place for the tables: expected {START.strip()} ... {STOP}")
    return pattern.sub(lambda _: f"{START}\n{tables}\n{STOP}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movielens", metavar="PATH", help="folder or zip of ml-latest-small")
    parser.add_argument("--retail", metavar="PATH", help="CSV of the UCI Online Retail data")
    parsed = parser.parse_args()
    blocks = []
    for heading, options, cases in sources(parsed.movielens, parsed.retail):
        rows_of_cases = [measured((*options, *case.options)) for case in cases]
        n = f"{rows_of_cases[0][0]['n_users']:,} users tested in time"
        blocks.append(f"**{heading}**, {n}\n\n{table(cases, rows_of_cases)}")
    README.write_text(written(README.read_text(encoding="utf-8"), "\n".join(blocks)), encoding="utf-8")


if __name__ == "__main__":
    main()
