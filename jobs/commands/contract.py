"""`cinematch contract`: what a release promises of its tables, as an Open Data Contract; and what two releases promise otherwise."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.arguments import add_command, settings_of
from schemas.contract import breaking, contract, differences
from schemas.errors import HeldBack
from schemas.tables import IdTypes
from warehouse.layout import Release, Warehouse
from warehouse.release import named

SENTENCE = (
    "Write the data contract of this version (Open Data Contract Standard 3.1), or that of a release; with --diff, say what another "
    "release promises otherwise, and end with status 1 if that breaks who relied on the first."
)
EXAMPLE = "cinematch contract current --diff latest"


def add_to(commands) -> None:
    """Add the command `contract`."""
    command = add_command(commands, "contract", SENTENCE, example=EXAMPLE, settings_of="contract")
    command.add_argument(
        "release", nargs="?", help="id, `current` or `latest`; without one, what a release would promise that is built now"
    )
    command.add_argument("--diff", metavar="OTHER", help="a release to compare it with")
    command.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> int:
    from warehouse import contracts

    warehouse = Warehouse(Path(settings_of(parsed).warehouse))
    promises = contract(IdTypes()) if parsed.release is None else contracts.read(_release(warehouse, parsed.release))
    if parsed.diff is None:
        print(contracts.text(promises), end="")
        return 0
    other = contracts.read(_release(warehouse, parsed.diff))
    said = sorted(differences(promises, other), reverse=True)
    for is_broken, sentence in said:
        print(f"{'breaks' if is_broken else 'adds  '}  {sentence}")
    print(f"{promises['version']} to {other['version']}: {len(said)} differences" if said else "the contracts promise the same")
    broken = breaking(promises, other)
    if broken:
        raise HeldBack(f"{len(broken)} differences break who relies on {promises['version']}; a new major version would say so")
    return 0


def _release(warehouse: Warehouse, name: str) -> Release:
    return warehouse.sealed(named(warehouse, name))
