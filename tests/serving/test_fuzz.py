"""Requests that nobody thought of: true ones of every route and of Datasette's, changed at random, sent as bytes to a real server.

`make fuzz REQUESTS=100000` sends as many as are wanted, from another seed each time; a test run sends a few, always the same.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.serving.conftest import Server, serving

REQUESTS, SEED = int(os.environ.get("FUZZ_REQUESTS", "1500")), os.environ.get("FUZZ_SEED", "1")
CLIENTS, LATE_S = 4, 20
TOKENS = [
    b"", b"0", b"1", b"-1", b"1.5", b"1e9", b"NaN", b"99999999999999999999", b"1" * 400, b"true", b"null", b"%", b"%00", b"%zz", b"%FF", b"%2e%2e", b"..", b"%2F",
    b"'", b'"', b"\\", b"<script>", b"{{7*7}}", b"a" * 2000, b",", b"1,2,3", b"~", b"r~x~0~1", b"Drama", b"array", b"arrays", b"object", b"items", b"title",
    b"rowid", b"1:5,2:nan", b"ndcg@10", b"%F0%9F%8E%AC", b"%E2%80%AE", "é".encode(), b"\xff", b"current", b"latest", b"collaborative", b"on", b"select+1", b":a", b"*", b"__x__",
]  # fmt: skip
NAMES = [
    b"n", b"genre", b"any_genre", b"all_genres", b"no_genre", b"any_tag", b"all_tags", b"no_tag", b"year_from", b"year_to", b"exclude", b"next", b"strict", b"q", b"a", b"b", b"source", b"reason", b"rated", b"release", b"metric", b"protocol", b"without", b"sql", b"user_id", b"_shape", b"_nl", b"_size", b"_sort", b"_sort_desc",
    b"_facet", b"_facet_size", b"_facet_array", b"_facet_date", b"_where", b"_next", b"_labels", b"_col", b"_nocol", b"_json", b"_json_infinity", b"_trace", b"_ttl",
    b"_timelimit", b"_search", b"_search_title", b"_searchmode", b"_stream", b"_dl", b"_extra", b"_through", b"_header", b"_filter_column", b"_filter_op", b"_hide_sql",
    b"_blob_column", b"_nofacet", b"_nosuggest", b"_nocount", b"title__contains", b"year__gt", b"title__in", b"title__arraycontains", b"title__x", b"",
]  # fmt: skip
HEADERS = [
    b"accept: text/html", b"accept: */*;q=x", b"accept: " + b"a/b," * 300, b"cookie: a=\xff", b"if-none-match: *", b'if-none-match: W/"x', b"range: bytes=0-1",
    b"content-type: text/plain", b"content-type: application/x-www-form-urlencoded", b"x-request-id: a\tb", b"x-request-id: " + b"x" * 300, b"authorization: Basic %%",
    b"authorization: Bearer", b"x-api-key: \xff", b"host: evil.example", b"accept-encoding: gzip, br", b"expect: 100-continue", b"x-forwarded-for: 1.2.3.4",
    b"x-http-method-override: DELETE", b"origin: http://evil.example", b"upgrade: websocket", b"transfer-encoding: chunked", b"content-length: x", b"date",
]  # fmt: skip
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"FOO"]
DATASETTE = [
    "/cinematch", "/cinematch.json?sql=select+1", "/cinematch?sql=select+:a&a=1", "/cinematch/items", "/cinematch/items.json?_size=5&_labels=on", "/cinematch/items.csv",
    "/cinematch/items?_facet=year&_sort=title", "/cinematch/items/1.json", "/cinematch/ratings?user_id=1", "/cinematch/recommendations.json?_shape=array",
    "/cinematch/list_of_user.json?user_id=1", "/cinematch/metrics?_search=a", "/cinematch/items.json?_search=star&_through={}", "/cinematch.db", "/catalog",
    "/catalog/releases.json", "/-/versions.json", "/-/settings", "/-/metadata.json", "/-/databases.json", "/-/plugins.json", "/-/static/app.css", "/-/actor.json",
    "/-/permissions", "/-/logout", "/-/messages", "/-/patterns", "/nowhere", "/static/site.css", "/cinematch/users/1", "/cinematch/explanations.json?_next=1,1,1",
]  # fmt: skip
BODIES = [
    {"user_id": 1, "item_id": 1, "rating": 4.5}, [{"user_id": 2, "item_id": 3, "rating": 1, "rated_at": 1}], {"ratings": [{"item_id": 1, "rating": 4}]},
    {"user_id": 1, "item_id": 1}, {"models": ["ials"], "serve": "ials", "promote": False, "as_of": "2026-01-04T02:00:00Z"}, {"items": [1, 2, 3], "user_id": 1},
    {"items": [3, 2], "ratings": [{"item_id": 1, "rating": 4}]}, {}, [], None,
]  # fmt: skip
LEAVES = [None, True, 0, -1, 10**400, 1e308, "", "1", "x" * 3000, "\u0000", "\ud800", [], {}, [[[[]]]], 2**63, 0.1, "2026-01-04T02:00:00Z"]


def seeds(server: Server) -> list[tuple[bytes, bytes]]:
    """Method and target of a true request for every operation that is described, and for Datasette's pages."""
    found = []
    for path, operations in server.get("/openapi.json").json()["paths"].items():
        for method in operations:
            target = path.replace("{release}", "current").replace("{run}", "manual__1")
            for name in ("user_id", "item_id"):
                target = target.replace(f"{{{name}}}", "1")
            found.append((method.upper().encode(), target.encode()))
    return found + [(b"GET", target.encode()) for target in DATASETTE]


def changed(drawn: random.Random, method: bytes, target: bytes, key: str) -> tuple[bytes, bytes]:
    """A method, and the bytes of a request that is some steps away from a true one."""
    path, _, query = target.partition(b"?")
    pairs, body, headers = [pair for pair in query.split(b"&") if pair], b"", []
    if method not in (b"GET", b"HEAD") or drawn.random() < 0.05:
        body = changed_body(drawn)
    for _ in range(drawn.choice([0, 1, 1, 1, 2, 2, 3])):
        match drawn.randrange(8):
            case 0 | 1 | 2:
                pairs.append(drawn.choice(NAMES) + b"=" + drawn.choice(TOKENS))
            case 3:
                segments = path.split(b"/")
                segments[drawn.randrange(1, len(segments))] = drawn.choice(TOKENS)
                path = b"/".join(segments)
            case 4 if pairs:
                place = drawn.randrange(len(pairs))
                pairs[place] = pairs[place].partition(b"=")[0] + b"=" + drawn.choice(TOKENS)
            case 5:
                path = flipped(drawn, path)
            case 6:
                headers.append(drawn.choice(HEADERS))
            case 7:
                method = drawn.choice(METHODS)
            case _:
                path += drawn.choice([b"/", b".json", b".csv", b".blob", b"/1", b"//"])
    if drawn.random() < 0.7 and not any(header.startswith(b"authorization") for header in headers):
        headers.append(b"authorization: Bearer " + key.encode())
    if not any(header.startswith(b"host:") for header in headers):
        headers.append(b"host: localhost")
    if not any(header.startswith((b"content-length", b"transfer-encoding")) for header in headers):
        headers.append(b"content-length: %d" % len(body))
    whole = path + (b"?" + b"&".join(pairs) if pairs else b"")
    return method, method + b" " + whole + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body


def flipped(drawn: random.Random, text: bytes) -> bytes:
    """Bytes with one changed, added or taken out; the first stays."""
    place = drawn.randrange(1, len(text) + 1)
    new = drawn.choice([b"", bytes([drawn.randrange(256)]), bytes([drawn.randrange(33, 127)])])
    return text[:place] + new + text[place + drawn.randrange(2) :]


def changed_body(drawn: random.Random) -> bytes:
    value = json.loads(json.dumps(drawn.choice(BODIES)))
    inner = value[0] if isinstance(value, list) and value else value
    if isinstance(inner, dict):
        for _ in range(drawn.randrange(3)):
            inner[drawn.choice([*inner, "user_id", "item_id", "rating", "weight", "rated_at", "ratings", "other"])] = drawn.choice(LEAVES)
    body = json.dumps(value).encode()
    return flipped(drawn, body) if drawn.random() < 0.3 else drawn.choice([body, body, body, body[: len(body) // 2], body * 3])


class Client:
    """One connection after another; what a request got: its status, or what was said instead."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address, self._socket = address, None

    def ask(self, method: bytes, raw: bytes) -> int | str:
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=LATE_S)
            self._socket.sendall(raw)
            answer = HTTPResponse(self._socket, method=method.decode())
            answer.begin()
            body = answer.read()
            if answer.will_close or answer.status == 400 or b"expect:" in raw or b"chunked" in raw or b"content-length: x" in raw:
                self.close()  # the server may have read on, or not
            return "traceback" if b"Traceback" in body else answer.status
        except (OSError, HTTPException) as error:
            self.close()
            return type(error).__name__

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def sent(server: Server, number: int, n: int) -> Iterator[tuple[int | str, bytes]]:
    """Send n requests of a client's own; what each got. One that got no answer on a connection that it shared gets one of its own."""
    drawn, client = random.Random(f"{SEED} {number}"), Client((urlsplit(server.url).hostname, urlsplit(server.url).port))
    known = seeds(server)
    for _ in range(n):
        method, raw = changed(drawn, *drawn.choice(known), server.key)
        got = client.ask(method, raw)
        if isinstance(got, str) and got != "traceback":
            got = client.ask(method, raw)
        yield got, raw
    client.close()


def test_no_request_is_an_error_of_the_server(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    with serving(folder, key=key) as server:
        server.get("/cinematch")
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss, process.num_fds()
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = [
                one for part in pool.map(lambda number: list(sent(server, number, REQUESTS // CLIENTS)), range(CLIENTS)) for one in part
            ]
        counts = Counter(got for got, _ in found)
        print(f"{len(found)} requests: {dict(counts)}; resident {before[0] >> 20} to {process.memory_info().rss >> 20} MiB, "
              f"descriptors {before[1]} to {process.num_fds()}, log {sum(map(len, server.log)) >> 10} KiB")  # fmt: skip
        bad = [
            (got, raw[:600])
            for got, raw in found
            if isinstance(got, str) and "Timeout" in got or got == "traceback" or isinstance(got, int) and got >= 500
        ]
        assert server.process.poll() is None and server.get("/recommend/1").status_code == server.get("/cinematch").status_code == 200
        log = "".join(server.log)
    assert not bad, (len(bad), bad[:5])
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
    assert key not in log and sum(n for got, n in counts.items() if got == 200) > REQUESTS / 10
