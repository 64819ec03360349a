"""Alerts as they arrive: at a web server and at a mail server of this machine."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jobs.cli import main
from jobs.monitor.alert import Alert, send
from schemas.errors import SettingError
from schemas.settings import resolve, Settings

HELD_BACK = Alert("warning", "release 20260104T020000Z was held back", "ndcg@10 0.10 against 0.12\nsee its verdict")


def settings(**given: str) -> Settings:
    return resolve(given, {})


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Webhook(BaseHTTPRequestHandler):
    """Keeps what was posted; answers as `status` says."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Mail(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as it takes to receive a message."""

    def handle(self) -> None:
        self._say("220 here")
        envelope = []
        for line in self.rfile:
            text = line.decode().strip()
            if text.upper() == "DATA":
                self._say("354 go on")
                lines = []
                while (line := self.rfile.readline().decode()) != ".\r\n":
                    lines.append(line)
                self.server.got.append((envelope, "".join(lines)))
            elif text.upper() == "QUIT":
                return self._say("221 bye")
            else:
                envelope.append(text)
            self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def webhook() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Webhook)
    server.got, server.status = [], 200
    with serving(server):
        yield server


@pytest.fixture
def mail() -> Iterator[socketserver.TCPServer]:
    server = socketserver.TCPServer(("127.0.0.1", 0), Mail)
    server.got = []
    with serving(server):
        yield server


def test_by_default_the_log_hears(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="cinematch"):
        assert send(HELD_BACK, settings()) == []
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", f"alert: {HELD_BACK.title}: {HELD_BACK.text}")]


def test_a_webhook_gets_what_happened_as_json(webhook: HTTPServer) -> None:
    url = f"http://127.0.0.1:{webhook.server_address[1]}/hooks/s3cret"
    assert send(HELD_BACK, settings(alert_to=url)) == []
    ((path, kind, body),) = webhook.got
    assert (path, kind) == ("/hooks/s3cret", "application/json")
    assert (body["level"], body["title"]) == ("warning", HELD_BACK.title)
    assert body["text"] == f"[warning] {HELD_BACK.title}\n{HELD_BACK.text}" and body["at"].endswith("+00:00")


def test_an_e_mail_arrives(mail: socketserver.TCPServer) -> None:
    port = mail.server_address[1]
    given = {"alert_to": "mailto:on-call@example.org", "alert_smtp": f"127.0.0.1:{port}", "alert_from": "cinematch@example.org"}
    assert send(HELD_BACK, settings(**given)) == []
    ((envelope, text),) = mail.got
    message = message_from_string(text)
    assert message["Subject"] == f"[warning] {HELD_BACK.title}" and message["To"] == "on-call@example.org"
    assert message.get_payload().replace("\r\n", "\n").strip() == HELD_BACK.text
    assert any(line.startswith("mail FROM:<cinematch@example.org>") for line in envelope)


def test_one_that_cannot_be_reached_keeps_nobody_else_from_hearing_and_shows_no_secret(
    webhook: HTTPServer, mail: socketserver.TCPServer, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.status = 500
    url = f"http://127.0.0.1:{webhook.server_address[1]}/hooks/s3cret"
    given = {"alert_to": f"{url},mailto:on-call@example.org,log", "alert_smtp": f"127.0.0.1:{mail.server_address[1]}"}
    failed = send(HELD_BACK, settings(**given))
    assert failed == ["http://127.0.0.1: HTTPError: HTTP Error 500: Internal Server Error"]
    assert len(mail.got) == 1 and "s3cret" not in caplog.text


def test_an_address_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingError, match="^alert_to: address 2 is not log, http://..., https://... or mailto:...$"):
        send(HELD_BACK, settings(alert_to="log,hooks.example.org/s3cret"))


def test_the_command_tells_and_fails_where_nobody_heard(webhook: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{webhook.server_address[1]}/x"
    command = ["alert", "--alert-to", address, "--level", "error", "--title", "recommend failed", "--text", "see its log"]
    assert main(command) == 0 and webhook.got[0][2]["title"] == "recommend failed"
    assert json.loads(capsys.readouterr().out) == {"command": "alert", "n_told": 1, "n_failed": 0}
    webhook.status = 503
    assert main(command) == 1
    assert "cinematch: http://127.0.0.1: HTTPError: HTTP Error 503" in capsys.readouterr().err
