"""The `cinematch` command: parses, resolves settings, calls one step, prints its figures, formats errors."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from jobs.bench import commands as bench_commands
from jobs.commands import audit, contract, inspect, keys, releases, sql
from jobs.commands.arguments import add_command, flags, report, settings_of
from jobs.commands.stopping import is_not_of_an_interrupt, put_away_when_terminated, said
from schemas.errors import CineMatchError, HeldBack, UsageError
from warehouse.layout import Warehouse

log = logging.getLogger("cinematch")

EXAMPLES = {
    "run": "cinematch run --source movielens --path ml-latest-small.zip",
    "ingest": "cinematch ingest --release 20260104T020000Z --source table --path purchases.csv.gz "
    "--columns user_id=CustomerID,item_id=StockCode,rated_at=InvoiceDate,weight=Quantity",
    "train": "cinematch train --release 20260104T020000Z --ials-factors 128",
    "evaluate": "cinematch evaluate --release 20260104T020000Z",
    "recommend": "cinematch recommend --release 20260104T020000Z --n 100",
    "seal": "cinematch seal --release 20260104T020000Z",
    "promote": "cinematch promote --release 20260104T020000Z",
    "serve": "cinematch serve --port 8001",
    "forget": "cinematch forget 117",
    "export-user": "cinematch export-user 117 --output user-117.json",
}
SENTENCES = {
    "run": "Every step, from a source to a promoted release.",
    "ingest": "Read a source, refuse what cannot be used, sort the rest by user.",
    "train": "Fit each model and keep its item side.",
    "evaluate": "Score the held-out ends of sampled users' histories.",
    "recommend": "Compute every user's list and its reasons.",
    "seal": "Build, check and digest the release, and make it read-only.",
    "promote": "Make a sealed release the one that is served.",
    "serve": "Serve the promoted release with Datasette.",
    "forget": "Erase a user: at once from what is served, for good from every later release; with a certificate.",
    "export-user": "Write everything that the warehouse holds on a user, as JSON.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, 0 only when it did what was asked."""
    parsed, unknown = parser().parse_known_args(arguments)
    if unknown:
        print(f"cinematch {parsed.command}: {_not_known(unknown, getattr(parsed, 'known_flags', ()))}", file=sys.stderr)
        return UsageError.exit_code
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, datefmt="%H:%M:%S")
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # what it logs, it also raises
    logging.getLogger().addFilter(is_not_of_an_interrupt)
    try:
        with put_away_when_terminated():
            return parsed.do(parsed) or 0
    except CineMatchError as error:
        print(f"cinematch: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        outcome = said(error)
        if outcome is None:
            raise
        status, sentence = outcome
        print(f"cinematch: {sentence}", file=sys.stderr)
        return status


def _not_known(arguments: Sequence[str], flags: Iterable[str]) -> str:
    """Say which arguments a command does not know, and what may have been meant."""
    first = arguments[0].partition("=")[0]
    near = difflib.get_close_matches(first, flags, 1)
    hint = f"did you mean {near[0]}?" if near else "--help names all that there are"
    return f"unrecognized arguments: {' '.join(arguments)}; {hint}"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="cinematch",
        description="Recommendations computed once a week, in the open, as rows; serving is a lookup.",
        epilog="Start with: cinematch run --source sample, then cinematch serve",
    )
    top.add_argument("--version", action="version", version=f"cinematch {version('cinematch')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, sentence in SENTENCES.items():
        command = add_command(commands, name, sentence, example=EXAMPLES[name], settings_of=name)
        if name in _STEPS:
            command.add_argument(
                "--release",
                required=name != "run",
                help="id of the release" + (", by default the time" if name == "run" else ""),
            )
            command.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
        if name == "train":
            command.add_argument("--model", help="fit this one alone, perhaps while others are; `train` then goes on with what it finds")
        if name == "forget":
            command.add_argument("user", help="id of the user")
            command.add_argument("--dry-run", action="store_true", help="say where the user stands, and forget nothing")
        if name == "export-user":
            command.add_argument("user", help="id of the user")
            command.add_argument("--format", choices=("json",), default="json", help="how it is written")
            command.add_argument(
                "--output", type=Path, metavar="FILE", help="file to write it to; to standard output where it is not given"
            )
        command.set_defaults(do={"serve": _serve, "run": _run, "forget": _forget, "export-user": _export_user}.get(name, _step))
    releases.add_to(commands)
    keys.add_to(commands)
    audit.add_to(commands)
    sql.add_to(commands)
    contract.add_to(commands)
    inspect.add_to(commands)
    bench_commands.add_to(commands)
    return top


def _run(parsed: argparse.Namespace) -> int:
    from jobs.run import run

    _report(run(settings_of(parsed), release_id=parsed.release), parsed.json)
    return 0


def _step(parsed: argparse.Namespace) -> int:
    from jobs.run import run_step
    from jobs.staging.record import recorded_settings

    first = settings_of(parsed)
    warehouse = Warehouse(Path(first.warehouse).absolute())  # workers of a cluster run in other folders
    recorded = {} if parsed.command in ("ingest", "promote") else recorded_settings(warehouse.staged(parsed.release))
    settings, model = settings_of(parsed, recorded), getattr(parsed, "model", None)
    _report(run_step(parsed.command, warehouse, parsed.release, settings, model=model), parsed.json)
    return 0


def _report(figures: dict, json_path: Path | None) -> None:
    """The figures, whatever became of the release. Raises HeldBack if it was to be promoted and is not."""
    report(figures, json_path)
    if not figures.get("is_promoted", True):
        raise HeldBack(figures["message"])


def _forget(parsed: argparse.Namespace) -> int:
    from jobs.privacy import erasure
    from jobs.privacy.forget import forget
    from jobs.privacy.traces import until

    settings = settings_of(parsed)
    warehouse = Warehouse(Path(settings.warehouse))
    places = forget(warehouse, parsed.user, is_dry_run=parsed.dry_run)
    if parsed.dry_run:
        print(f"user {parsed.user} would be forgotten; nothing was changed")
    else:
        print(f"user {parsed.user} is forgotten: gone from lookups and online ratings, and left out of every later release")
    looked_into = [one for one in places if one.n is not None]
    for place, n, remedy in looked_into:
        print(f"  in {place}: {n:,} rows" + ("" if place.startswith("releases/") else f"; {remedy}"))
    for place, n, remedy in places:
        if n is None:
            print(f"  perhaps in {place}: {remedy}")
    if sentence := until(warehouse, places):
        print(sentence)
    if not parsed.dry_run:
        path, certificate = erasure.read(warehouse, parsed.user)
        print(f"certificate {path}, which the daily audit goes on with until nothing names the user:\n{json.dumps(certificate, indent=1)}")
    report(
        {
            "command": "forget",
            "n_places": len(looked_into),
            "n_rows": sum(one.n for one in looked_into),
            "n_not_looked_into": len(places) - len(looked_into),
        },
        None,
    )
    return 0


def _export_user(parsed: argparse.Namespace) -> int:
    from jobs.privacy.export_user import export

    text = json.dumps(export(Warehouse(Path(settings_of(parsed).warehouse)), parsed.user), indent=1, ensure_ascii=False) + "\n"
    if parsed.output is None:
        print(text, end="")
        return 0
    try:
        with os.fdopen(os.open(parsed.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{parsed.output}: cannot be written ({error.strerror}); name a file that is not there yet") from None
    print(f"{parsed.output}  {len(text.encode()) / 2**10:.1f} KiB, for its owner's eyes")
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    """Replace this process by the server, which shares no import with the batch."""
    settings_of(parsed)  # an unknown setting is said before the server starts
    given = [f"--{name.replace('_', '-')}={value}" for name, value in flags(parsed).items() if value is not None]
    os.execv(sys.executable, [sys.executable, "-m", "serving", *given])  # nosec B606  # no shell: our own module in place of this process


_STEPS: tuple[str, ...] = ("run", "ingest", "train", "evaluate", "recommend", "seal", "promote")

if __name__ == "__main__":
    sys.exit(main())
