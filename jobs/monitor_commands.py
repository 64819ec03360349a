"""`cinematch alert`: what a scheduler calls to tell people."""

from __future__ import annotations

import argparse

from jobs.alert import Alert, LEVELS, send, targets
from jobs.arguments import add_command, report, settings_of
from schemas.errors import AlertError


def add_to(commands) -> None:
    """Add the commands that watch over the releases."""
    alert = add_command(
        commands,
        "alert",
        "Tell people, wherever alert_to names: log, webhook, e-mail.",
        example="cinematch alert --level warning --title 'release held back' --text 'see its verdict'",
        settings_of="alert",
    )
    alert.add_argument("--level", choices=LEVELS, default="error")
    alert.add_argument("--title", required=True, help="what happened, in one line")
    alert.add_argument("--text", default="", help="where to look")
    alert.set_defaults(do=_alert)


def _alert(parsed: argparse.Namespace) -> int:
    settings = settings_of(parsed)
    failed = send(Alert(parsed.level, parsed.title, parsed.text), settings)
    report({"command": "alert", "n_told": len(targets(settings)) - len(failed), "n_failed": len(failed)}, None)
    if failed:
        raise AlertError("; ".join(failed))
    return 0
