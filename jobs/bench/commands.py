"""`cinematch bench ...`: a subcommand a claim."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from jobs.arguments import add_command, report, settings_of
from jobs.bench import accuracy_command

BENCHES = {
    "topn": (
        "All-user top-N through Spark against Spark's own recommendForUserSubset on the same factors.",
        "cinematch bench topn --users 10000",
    ),
    "run": (
        "Source to promoted release on generated ratings: seconds and peak memory of the process tree.",
        "cinematch bench run --ratings 1000209",
    ),
    "serve": (
        "A running server: lookups against a canned query and an empty answer, start, memory, swaps under load.",
        "cinematch bench serve --json serve.json",
    ),
    "updates": (
        "Ratings posted to a running server: milliseconds until they count, durable ratings a second.",
        "cinematch bench updates --seconds 10",
    ),
}
OPTIONS = {
    "topn": (
        ("users", 10_000, "users to rank for"),
        ("items", 87_585, "items to rank"),
        ("n", 100, "length of a list"),
        ("repeats", 3, "timed runs of each side"),
    ),
    "run": (("ratings", 1_000_209, "ratings to generate"),),
    "serve": (
        ("users", 200_000, "users of the generated release"),
        ("items", 87_585, "its items"),
        ("seconds", 3, "seconds of each timed run"),
        ("repeats", 3, "timed runs of each side"),
        ("swaps", 6, "promotions and rollbacks under load"),
    ),
    "updates": (
        ("users", 200_000, "users of the generated release"),
        ("items", 87_585, "its items"),
        ("seconds", 60, "seconds of sustained writing"),
        ("rate", 1100, "ratings a second posted meanwhile"),
        ("lookups", 200, "lookups a second meanwhile"),
        ("burst", 5, "seconds of writing as fast as it goes"),
        ("probes", 500, "ratings posted and read back one by one"),
    ),
}


def add_to(commands) -> None:
    top = commands.add_parser(
        "bench",
        help="Measure what the README claims.",
        description="Measure what the README claims.",
        epilog="Example: cinematch bench topn --json topn.json",
    )
    actions = top.add_subparsers(dest="action", required=True, metavar="BENCH")
    for name, (sentence, example) in BENCHES.items():
        action = add_command(actions, name, sentence, example=example, settings_of="bench")
        for option, default, description in OPTIONS[name]:
            action.add_argument(
                f"--{option}",
                type=int,
                default=default,
                dest=f"bench_{option}",
                metavar="COUNT",
                help=f"{description} (default: {default})",
            )
        action.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
        action.set_defaults(do=_do)
    accuracy_command.add_to(actions)


def _do(parsed: argparse.Namespace) -> None:
    settings = settings_of(parsed)
    measure = importlib.import_module(f"jobs.bench.{parsed.action}").measure
    report(
        {
            "bench": parsed.action,
            **measure(settings, **{name: getattr(parsed, f"bench_{name}") for name, _, _ in OPTIONS[parsed.action]}),
        },
        parsed.json,
    )
