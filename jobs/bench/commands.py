"""`cinematch bench ...`: a subcommand a claim."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from jobs.bench.accuracy import command as accuracy_command
from jobs.commands.arguments import add_command, report, settings_of
from jobs.staging.record import STEPS

BENCHES = {
    "topn": (
        "All-user top-N through Spark against Spark's own and against implicit's bare kernel, on the same factors.",
        "cinematch bench topn --users 10000",
    ),
    "als": (
        "Item factors by fold-in alternated, by Spark MLlib and by implicit, from the same generated ratings.",
        "cinematch bench als --ratings 32000204 --json als.json",
    ),
    "run": (
        "Source to promoted release on generated ratings: seconds and peak memory of the process tree.",
        "cinematch bench run --ratings 1000209",
    ),
    "scale": (
        "A release of any size, step by step: seconds, rows, peak memory, bytes a row, and how it is served.",
        "cinematch bench scale --ratings 32000204 --json scale.json",
    ),
    "plan": (
        "What a release of any size would take: seconds, core-hours, bytes, and what breaks first; nothing is run.",
        "cinematch bench plan --users 100000000 --items 10000000 --ratings 10000000000 --cores 1000",
    ),
    "serve": (
        "A running server: lookups against a canned query and an empty answer, start, memory, swaps under load.",
        "cinematch bench serve --json serve.json",
    ),
    "pages": (
        "Every page of a running server: milliseconds until it is there, and kilobytes.",
        "cinematch bench pages --json pages.json",
    ),
    "updates": (
        "Ratings posted to a running server: milliseconds until they count, durable ratings a second.",
        "cinematch bench updates --seconds 10",
    ),
    "soak": (
        "Everything at once for a long time, with swaps and kills: p99s, memory, descriptors, what is lost.",
        "cinematch bench soak --minutes 30 --json soak.json",
    ),
}
OPTIONS = {
    "topn": (
        ("users", 10_000, "users to rank for"),
        ("items", 87_585, "items to rank"),
        ("n", 100, "length of a list"),
        ("repeats", 3, "timed runs of each side"),
    ),
    "als": (
        ("ratings", 1_000_209, "ratings to generate"),
        ("factors", 64, "factors to fit"),
        ("iterations", 10, "iterations"),
        ("alpha", 2, "confidence of implicit feedback, as in `ials`; 0 fits explicit ratings, as in `als`"),
    ),
    "run": (("ratings", 1_000_209, "ratings to generate"),),
    "scale": (
        ("ratings", 1_000_209, "ratings to generate"),
        ("steps", len(STEPS), f"so many of {', '.join(STEPS)}"),
        ("served", 1, "0 leaves out the server, as does a step that is left out"),
    ),
    "plan": (
        ("users", 200_948, "users of the release"),
        ("items", 87_585, "its items"),
        ("ratings", 32_000_204, "its ratings"),
        ("cores", 2, "cores to run on"),
    ),
    "serve": (
        ("users", 200_000, "users of the generated release"),
        ("items", 87_585, "its items"),
        ("seconds", 3, "seconds of each timed run"),
        ("repeats", 3, "timed runs of each side"),
        ("swaps", 6, "promotions and rollbacks under load"),
    ),
    "pages": (
        ("users", 200_000, "users of the generated release"),
        ("items", 87_585, "its items"),
        ("repeats", 20, "times that each page is asked for"),
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
    "soak": (
        ("minutes", 30.0, "minutes of load"),
        ("users", 20_000, "users of the generated release"),
        ("items", 20_000, "its items"),
        ("rate", 100, "requests a second to the server that stays, and half as many to the one that is killed"),
        ("swaps", 60, "promotions and rollbacks meanwhile"),
        ("kills", 10, "kills of the second server meanwhile"),
    ),
}

TEXTS = {
    "serve": (("beside", "measure instead how long lookups wait beside what others ask: `all`, or one of the names that it then lists"),),
}


def add_to(commands) -> None:
    top = commands.add_parser(
        "bench",
        help="Measure what the documents claim.",
        description="Measure what the documents claim.",
        epilog="Example: cinematch bench topn --json topn.json",
    )
    actions = top.add_subparsers(dest="action", required=True, metavar="BENCH")
    for name, (sentence, example) in BENCHES.items():
        action = add_command(actions, name, sentence, example=example, settings_of="bench")
        for option, default, description in OPTIONS[name]:
            action.add_argument(
                f"--{option}",
                type=type(default),
                default=default,
                dest=f"bench_{option}",
                metavar="COUNT" if isinstance(default, int) else "NUMBER",
                help=f"{description} (default: {default})",
            )
        for option, description in TEXTS.get(name, ()):
            action.add_argument(f"--{option}", default="", dest=f"bench_{option}", metavar="NAME", help=description)
        action.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
        action.set_defaults(do=_do)
    accuracy_command.add_to(actions)


def _options(action: str) -> list[str]:
    return [option for option, *_ in (*OPTIONS[action], *TEXTS.get(action, ()))]


def _do(parsed: argparse.Namespace) -> None:
    settings = settings_of(parsed)
    measure = importlib.import_module(f"jobs.bench.{parsed.action}").measure
    report(
        {
            "bench": parsed.action,
            **measure(settings, **{name: getattr(parsed, f"bench_{name}") for name in _options(parsed.action)}),
        },
        parsed.json,
    )
