"""`cinematch audit` and `cinematch alert`: how the promoted release is, and telling people."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.arguments import add_command, report, settings_of
from jobs.monitor.alert import Alert, LEVELS, send, targets
from schemas.errors import AlertError, CheckError, CineMatchError
from warehouse import journal
from warehouse.layout import Warehouse


def add_to(commands) -> None:
    """Add the commands that watch over the releases."""
    audit = add_command(
        commands,
        "audit",
        "Verify the promoted release, and compare what comes in online with it.",
        example="cinematch audit --audit-psi 0.2",
        settings_of="audit",
    )
    audit.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    audit.set_defaults(do=_audit)
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


def _audit(parsed: argparse.Namespace) -> int:
    """Raises CheckError if the release is damaged; what is merely unusual is said and is no failure."""
    from jobs.monitor.audit import audit
    from jobs.monitor.findings import figures, newly_wrong

    settings = settings_of(parsed)
    warehouse = Warehouse(Path(settings.warehouse))
    before = journal.read(warehouse.findings)
    try:
        findings = audit(warehouse, settings)
    except CineMatchError as error:
        send(Alert("error", "audit: the promoted release cannot be read", str(error)), settings)
        raise
    for finding in findings:
        print(f"{finding.level:<8} {finding.question:<22} {_shown(finding.value)}{_limit(finding.limit)}  {finding.message}")
    wrong = newly_wrong(findings, before)
    damaged = [finding for finding in findings if finding.level == "error"]
    if wrong:
        told = "\n".join(f"{finding.question} {_shown(finding.value)}{_limit(finding.limit)}: {finding.message}" for finding in wrong)
        title = f"audit: release {wrong[0].release}: {', '.join(finding.question for finding in wrong)}"
        send(Alert("error" if damaged else "warning", title, told), settings)
    report(figures(findings), parsed.json)
    if damaged:
        raise CheckError("; ".join(f"{one.question}: {one.message}" for one in damaged) + "; roll back or import a good copy")
    return 0


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _limit(limit: float | None) -> str:
    return "" if limit is None else f" (limit {limit:.4g})"


def _alert(parsed: argparse.Namespace) -> int:
    settings = settings_of(parsed)
    failed = send(Alert(parsed.level, parsed.title, parsed.text), settings)
    report({"command": "alert", "n_told": len(targets(settings)) - len(failed), "n_failed": len(failed)}, None)
    if failed:
        raise AlertError("; ".join(failed))
    return 0
