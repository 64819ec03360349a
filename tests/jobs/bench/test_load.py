"""The load client against a small server that answers, refuses, speaks in chunks and hangs up."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.bench.generated_release import FIRST, SECOND
from jobs.bench.load import _uninterrupted, drive, loaded, Loading, Plan
from jobs.bench.swaps import edition, MIXED
from jobs.bench.wire import request


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode() * 3
        if self.path == "/hang-up":
            self.close_connection = True
            return
        if self.path == "/slow":
            time.sleep(0.2)
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:5], body[5:], b""):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            return
        self.send_response(int(self.path[1:]) if self.path[1:].isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/last"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = f"{self.headers['authorization']} {body.decode()}".encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[:2]
        server.shutdown()
        thread.join()


PATHS = ("/ok", "/404", "/500", "/chunked", "/204")


def ask(paths: tuple[str, ...], index: int) -> bytes:
    return request("GET", paths[index % len(paths)])


def seen(index: int, body: bytes) -> str | None:
    return body.decode() if index % 5 == 3 else None


def test_answers_are_counted_by_status_and_observed(address) -> None:
    outcome = drive(Plan(address, partial(ask, PATHS), 30, connections=4, at_most=50, observe=seen))
    assert outcome.statuses == {200: 20, 404: 10, 500: 10, 204: 10}
    assert (outcome.n, outcome.n_errors, outcome.n_broken) == (50, 20, 0)
    assert sorted(one.index for one in outcome.observed) == list(range(3, 50, 5))
    assert {one.value for one in outcome.observed} == {"/chunked" * 3}
    assert all(one.sent_at <= one.done_at for one in outcome.observed)
    assert 0 < outcome.ms(0) <= outcome.ms(50) <= outcome.ms(99) <= outcome.ms(100) and outcome.per_s > 0


def test_a_connection_that_breaks_is_an_error_and_is_opened_again(address) -> None:
    outcome = drive(Plan(address, partial(ask, ("/ok", "/hang-up")), 30, connections=3, at_most=40))
    assert outcome.statuses == {200: 20} and outcome.n_broken == outcome.n_errors == 20


def test_a_connection_that_is_closed_while_idle_is_no_error_and_is_opened_again(address) -> None:
    outcome = drive(Plan(address, partial(ask, ("/last",)), 30, connections=1, at_most=4, per_s=10.0))
    assert outcome.statuses == {200: 4} and outcome.n_broken == 0


def test_a_server_that_is_gone_ends_the_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()

        def hang_up() -> None:
            both = [listening.accept()[0] for _ in range(2)]
            listening.close()
            for one in both:
                one.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        outcome = drive(Plan(address, partial(ask, ("/ok",)), 300, connections=2))
        thread.join()
    assert outcome.n == 0 and outcome.n_broken <= 2 and outcome.seconds < 60


def test_time_bounds_a_load_and_a_rate_paces_it(address) -> None:
    outcome = drive(Plan(address, partial(ask, ("/ok",)), 0.5, connections=2, per_s=100.0))
    assert 1 <= outcome.n <= 51 and outcome.n_errors == 0 and outcome.seconds < 10


def test_at_a_rate_a_request_that_had_to_wait_for_a_connection_counts_from_when_it_was_due(address) -> None:
    outcome = drive(Plan(address, partial(ask, ("/slow",)), 30, connections=1, at_most=4, per_s=20.0))
    waited = sorted(outcome.latencies_s)  # due after 0, 50, 100 and 150 ms, whole after 200, 400, 600 and 800
    assert all(took >= least for took, least in zip(waited, (0.19, 0.34, 0.49, 0.64)))


def test_a_process_of_its_own_drives_and_can_be_stopped(address) -> None:
    assert loaded(Plan(address, partial(ask, ("/ok",)), 30, at_most=20)).n == 20
    with Loading(Plan(address, partial(ask, ("/ok",)), 300)) as loading:
        loading.wait_begun()
        loading.stop()
        assert loading.outcome().n_errors == 0


def test_what_goes_wrong_in_the_other_process_is_raised_here(address) -> None:
    with pytest.raises(ZeroDivisionError):
        loaded(Plan(address, partial(ask, ()), 30))


def post(index: int) -> bytes:
    return request("POST", "/ratings", f"number {index}".encode(), "secret")


def echoed(index: int, body: bytes) -> bytes:
    return body


def test_a_post_brings_its_body_and_its_key(address) -> None:
    outcome = drive(Plan(address, post, 30, connections=1, at_most=2, observe=echoed))
    assert [one.value for one in outcome.observed] == [b"Bearer secret number 0", b"Bearer secret number 1"]


def test_an_answer_of_two_releases_is_called_mixed() -> None:
    def answer(named: str, *titles: str) -> bytes:
        return f'{{"ok":true,"release":"{named}","rows":[{",".join(titles)}]}}'.encode()

    first, second = f'"A Film ({FIRST})"', f'"A Film ({SECOND})"'
    assert edition(0, answer(FIRST, *[first] * 10)) == FIRST and edition(0, answer(SECOND, *[second] * 10)) == SECOND
    assert edition(0, answer(FIRST, *[first] * 9, second)) == MIXED  # a row of the other release
    assert edition(0, answer(SECOND, *[first] * 10)) == MIXED
    assert edition(0, answer(FIRST, *[first] * 9)) == MIXED  # a row is missing
    assert edition(0, b"{}") == MIXED


def test_an_interruption_while_a_process_starts_is_put_off_whichever_thread_gets_it() -> None:
    """A thread that blocks nothing takes the signal, and Python would raise in the main one all the same."""
    idle, done = threading.Event(), []
    other = threading.Thread(target=idle.wait)
    other.start()
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), _uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            done.append("whole")
    finally:
        idle.set()
        other.join()
    assert done == ["whole"] and signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
