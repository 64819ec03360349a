"""`cinematch bench accuracy`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jobs.commands.arguments import add_command, settings_of
from schemas.errors import UsageError

SENTENCE = "How well models find what was held out of a source: metrics with intervals, seconds, memory, one row a model."
EXAMPLE = "cinematch bench accuracy --source table --path ratings.csv --models popular,ease,hybrid --json accuracy.json"
OPTIONS = (
    ("fraction", float, "SHARE", "share of the rows that is tested (default: 0.2, random_ratio 0.25)"),
    ("negatives", str, "COUNT", "leave_one_out: items that nobody has to compare with, or all (default: 99)"),
    ("folds", int, "COUNT", "kfold: parts of the rows (default: 5)"),
    ("threshold", float, "RATING", "strong_generalization: only ratings above count"),
    ("min-items", int, "COUNT", "users with fewer items are not tested (default: 5, global_time 1)"),
    ("train", str, "FILE", "given: the rows to train on, as the source `table` reads them, or a user and their items a line"),
    ("test", str, "FILE", "given: the rows that are tested"),
    ("held-users", int, "COUNT", "strong_generalization: users to test (default: a tenth; as many to tune on)"),
)


def add_to(actions) -> None:
    action = add_command(actions, "accuracy", SENTENCE, example=EXAMPLE, settings_of="accuracy")
    action.add_argument(
        "--protocol",
        default="last_fraction",
        metavar="NAME",
        help="last_fraction (each user's last rows), global_time, leave_one_out, next_basket (each user's last moment, with what they "
        "had before), random_ratio, kfold, "
        "strong_generalization or given (a cut in two files) (default: last_fraction)",
    )
    for name, kind, metavar, description in OPTIONS:
        action.add_argument(f"--{name}", type=kind, metavar=metavar, help=description)
    action.add_argument("--stratify", choices=("item", "user"), help="random_ratio: the share within each item or user")
    action.add_argument("--k", type=int, default=10, metavar="COUNT", help="length of the lists (default: 10)")
    action.add_argument("--tune", action="store_true", help="a wider search for hyper-parameters, inside the training rows")
    action.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file, a list of flat objects")
    action.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> int:
    from jobs.bench.accuracy import compare
    from jobs.bench.accuracy.cuts import Cutting

    if not 1 <= parsed.k <= 1000:
        raise UsageError(f"--k: expected 1 to 1000, got {parsed.k}")
    settings = settings_of(parsed)
    given = {name: getattr(parsed, name) for name in Cutting.TAKES}
    rows = compare.measure(
        settings, cutting=Cutting(parsed.protocol, settings.seed, **given), models=settings.models, k=parsed.k, tune=parsed.tune
    )
    text = json.dumps(rows)
    if parsed.json:
        parsed.json.write_text(text + "\n", encoding="utf-8")
    print(compare.table(rows))
    print(text)
    compare.failures(rows)
    return 0
