"""Command lines in common: a flag for each setting, an example, and figures as its last line."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from schemas.settings import FIELDS, resolve, Settings


def add_command(commands, name: str, sentence: str, *, example: str, settings_of: str) -> argparse.ArgumentParser:
    """A subcommand with a sentence, an example, and a flag for each setting of `settings_of`."""
    command = commands.add_parser(
        name,
        help=sentence,
        description=sentence,
        epilog=f"Example: {example}",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    command.set_defaults(known_flags=command._option_string_actions)  # to say what was meant by another
    command.add_argument("--settings", metavar="FILE", help="TOML file of settings (default: cinematch.toml where there is one)")
    for setting, declared in FIELDS.items():
        if settings_of in declared.metadata["commands"] and not declared.metadata.get("is_secret"):
            default = f" (default: {declared.default})" if declared.default != "" else ""
            optional = {"nargs": "?", "const": "true"} if isinstance(declared.default, bool) else {}
            command.add_argument(
                f"--{setting.replace('_', '-')}",
                dest=setting,
                metavar="VALUE",
                **optional,
                help=f"{declared.metadata['description']}{default}".replace("%", "%%"),
            )
    return command


class _Formatter(argparse.HelpFormatter):
    """Wraps everything but the example, which is to be pasted as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return f"{indent}{text}" if text.startswith("Example: ") else super()._fill_text(text, width, indent)


def flags(parsed: argparse.Namespace) -> dict[str, object]:
    """The settings among parsed arguments."""
    return {name: value for name, value in vars(parsed).items() if name in FIELDS or name == "settings"}


def settings_of(parsed: argparse.Namespace, recorded: dict | None = None) -> Settings:
    return resolve(flags(parsed), os.environ, recorded=recorded)


def report(figures: dict, json_path: Path | None) -> None:
    """A step's last line: one flat JSON object; also to a file where one is named."""
    line = json.dumps(figures)
    if json_path:
        json_path.write_text(line + "\n", encoding="utf-8")
    print(line)
