"""`cinematch keys ...`: make API keys, list them, take them back."""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import datetime, timedelta, UTC
from pathlib import Path

from jobs.commands.arguments import add_command, settings_of
from schemas.errors import UsageError
from warehouse import keys
from warehouse.layout import Warehouse

COMMANDS = {
    "create": ("Make an API key and print it, this once.", "cinematch keys create --name shop --scopes ratings,read --expires 90"),
    "list": ("The keys, what each may, and when it was used last.", "cinematch keys list"),
    "revoke": ("Take a key back; a running server refuses it within a second.", "cinematch keys revoke shop"),
}


def add_to(commands) -> None:
    """Add the commands about keys."""
    top = commands.add_parser("keys", help="Make, list and revoke API keys.")
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (sentence, example) in COMMANDS.items():
        action = add_command(actions, name, sentence, example=example, settings_of="keys")
        if name == "create":
            meanings = "; ".join(f"{scope}: {meaning}" for scope, meaning in keys.SCOPES.items())
            action.add_argument("--name", default="default", help="what the key is for; one key a name")
            action.add_argument(
                "--scopes",
                default=keys.RATINGS,
                metavar="LIST",
                help=f"what it may, separated by commas (default: {keys.RATINGS}). {meanings}",
            )
            action.add_argument(
                "--expires", metavar="WHEN", help="days from now, or a UTC time such as 2026-12-31T00:00Z; never when left out"
            )
        if name == "list":
            action.add_argument("--json", action="store_true", help="as JSON")
        if name == "revoke":
            action.add_argument("name", help="name of the key")
        action.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> None:
    warehouse = Warehouse(Path(settings_of(parsed).warehouse))
    {"create": _create, "list": _list, "revoke": _revoke}[parsed.action](parsed, warehouse)


def _create(parsed: argparse.Namespace, warehouse: Warehouse) -> None:
    scopes, expires_at = keys.scopes_of(parsed.scopes), _moment(parsed.expires)
    key = keys.create(warehouse, parsed.name, scopes=scopes, expires_at=expires_at)
    until = f" until {_shown(expires_at)}" if expires_at else ""
    print(f"Key {parsed.name!r} for {', '.join(scopes)}{until}, shown this once; a running server takes it at once:", file=sys.stderr)
    print(key)
    print(f"Send it as a header:  Authorization: Bearer {key[:6]}...   Its digest is in {warehouse.keys}", file=sys.stderr)


def _list(parsed: argparse.Namespace, warehouse: Warehouse) -> None:
    """A row a key. A server writes the last use once a minute."""
    now, used = datetime.now(UTC), keys.read_used(warehouse.keys_used)
    rows = [
        {
            "name": key.name,
            "scopes": list(key.scopes),
            "created_at": _shown(key.created_at),
            "expires_at": _shown(key.expires_at),
            "used_at": _shown(used.get(key.sha256)),
            "status": "expired" if key.has_expired(now) else "valid",
        }
        for key in keys.read(warehouse.keys).values()
    ]
    if parsed.json:
        print(json.dumps(rows))
        return
    form = "{:<20} {:<28} {:<20} {:<20} {:<20} {}"
    print(form.format("name", "scopes", "created", "expires", "last used", "status"))
    for row in rows:
        times = [row[name] or "-" for name in ("created_at", "expires_at", "used_at")]
        print(form.format(row["name"], ",".join(row["scopes"]), *times, row["status"]))


def _revoke(parsed: argparse.Namespace, warehouse: Warehouse) -> None:
    keys.revoke(warehouse, parsed.name)
    print(f"key {parsed.name!r} is revoked")


def _moment(text: str | None) -> datetime | None:
    """Days from now, or a time. Raises UsageError."""
    if text is None:
        return None
    try:
        days = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"--expires: expected days, or a time such as 2026-12-31T00:00Z, got {text!r}") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not math.isfinite(days) or not 0 < days <= 36_500:
        raise UsageError(f"--expires: expected up to 36500 days, got {text}")
    return datetime.now(UTC) + timedelta(days=days)


def _shown(at: datetime | None) -> str | None:
    return at and f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
