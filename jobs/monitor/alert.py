"""alert: say to people what they should know: in the log, by webhook, or by e-mail, wherever the settings name.

    CINEMATCH_ALERT_TO=log,https://hooks.example.org/T0/B0/x,mailto:on-call@example.org

Addresses may hold secrets, so no message and no error shows more of them than scheme and host.
"""

from __future__ import annotations

import json
import logging
import smtplib
import socket
import ssl
from dataclasses import asdict, dataclass
from datetime import datetime, UTC
from email.message import EmailMessage
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from schemas.errors import SettingError
from schemas.settings import Settings

log = logging.getLogger("cinematch")

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
TIMEOUT_S = 10


@dataclass(frozen=True)
class Alert:
    """An event to tell of. The title is one line; the text says where to look."""

    level: str
    title: str
    text: str = ""


def send(alert: Alert, settings: Settings) -> list[str]:
    """Tell everybody that alert_to names; returns what could not be reached, each with the reason. One that fails does
    not keep the others from hearing."""
    failed = []
    for target in targets(settings):
        try:
            _send_one(alert, target, settings)
        except (OSError, smtplib.SMTPException, HTTPError) as error:
            failed.append(f"{shown(target)}: {type(error).__name__}: {error}".splitlines()[0])
            log.error("alert: %s", failed[-1])
    return failed


def targets(settings: Settings) -> list[str]:
    """The addresses of alert_to. Raises SettingError for one that is none."""
    addresses = [target.strip() for target in settings.alert_to.split(",") if target.strip()]
    for place, target in enumerate(addresses, 1):
        if target != "log" and not target.startswith(("http://", "https://", "mailto:")):
            # Not shown: it may be a secret.
            raise SettingError(f"alert_to: address {place} is not log, http://..., https://... or mailto:...")
    return addresses


def shown(target: str) -> str:
    """Return as much of an address as anyone may see."""
    parts = urlsplit(target)
    return target if target == "log" or parts.scheme == "mailto" else f"{parts.scheme}://{parts.hostname}"


def _send_one(alert: Alert, target: str, settings: Settings) -> None:
    if target == "log":
        log.log(LEVELS[alert.level], "alert: %s: %s", alert.title, alert.text)
    elif target.startswith("mailto:"):
        _mail(alert, target.removeprefix("mailto:"), settings)
    else:
        _post(alert, target)


def _post(alert: Alert, url: str) -> None:
    """A JSON object with what happened; `text` holds all of it for chat services, which show that key."""
    body = asdict(alert) | {"text": f"[{alert.level}] {alert.title}\n{alert.text}", "host": socket.gethostname()}
    body["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", "User-Agent": "cinematch"})
    with urlopen(request, timeout=TIMEOUT_S):  # nosec B310  # the operator's own address
        pass


def _mail(alert: Alert, address: str, settings: Settings) -> None:
    server = urlsplit(f"//{settings.alert_smtp}")
    message = EmailMessage()
    message["Subject"] = f"[{alert.level}] {alert.title}".replace("\n", " ")
    message["From"] = settings.alert_from or f"cinematch@{socket.getfqdn()}"
    message["To"] = address
    message.set_content(alert.text or alert.title)
    with smtplib.SMTP(server.hostname or "localhost", server.port or 25, timeout=TIMEOUT_S) as smtp:
        if server.username:
            smtp.starttls(context=ssl.create_default_context())  # or the password would be read on the way
            smtp.login(unquote(server.username), unquote(server.password or ""))
        smtp.send_message(message)
