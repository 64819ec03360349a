"""The README's tables of accuracy: what they show of rows, and where they are written."""

from __future__ import annotations

import pytest

from jobs.bench.accuracy.cuts import Cutting
from jobs.bench.accuracy.readme import Case, IN_TIME, OF_LIKED, README, sources, table, written
from jobs.cli import parser


def row(model: str, value: float | None, status: str = "trained") -> dict:
    return {"model": model, "status": status, "rmse": value, "rmse_low": 0.8, "rmse_high": 0.95}


def test_a_row_a_model_with_intervals_and_the_best_in_bold() -> None:
    cases = (Case("folds", "rmse", ()), Case("again", "rmse", ()))
    found = table(cases, [[row("als", 0.9), row("svd", 0.85), row("ease", None, "skipped")], [row("als", 0.91)]])
    assert found.splitlines() == [
        "| model | folds | again |",
        "|---|---|---|",
        "| `als` | 0.900 (0.800 to 0.950) | **0.910** (0.800 to 0.950) |",
        "| `svd` | **0.850** (0.800 to 0.950) |  |",
        "| `ease` |  |  |",
    ]


def test_of_what_is_predicted_below_the_mean_less_is_better_and_of_what_was_liked_more() -> None:
    def liked(model: str, value: float) -> dict:
        return {"model": model, "status": "trained"} | {
            f"{name}{end}": value for name in ("below_mean_at_10", "ndcg_liked_at_10") for end in ("", "_low", "_high")
        }

    found = table(OF_LIKED, [[liked("a", 0.2), liked("b", 0.3)]] * 2)
    assert "| `a` | 0.200 (0.200 to 0.200) | **0.200** (0.200 to 0.200) |" in found
    assert "| `b` | **0.300** (0.300 to 0.300) | 0.300 (0.300 to 0.300) |" in found
    assert {case.options for case in OF_LIKED} == {IN_TIME.options}, "columns of one command, which is run once"


def test_the_readme_has_a_place_for_them() -> None:
    text = README.read_text(encoding="utf-8")
    assert "\nNEW\n" in written(text, "NEW") and written(written(text, "A"), "B") == written(text, "B")
    with pytest.raises(ValueError, match="no place for the tables"):
        written("nothing", "NEW")


def test_every_case_is_a_command_that_parses() -> None:
    for _, options, cases in sources("ml.zip", "retail.csv"):
        for case in cases:
            parsed = parser().parse_args(["bench", "accuracy", *options, *case.options])
            Cutting(parsed.protocol, 1, **{name: getattr(parsed, name) for name in Cutting.TAKES})
