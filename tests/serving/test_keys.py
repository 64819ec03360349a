"""Keys and their scopes, users' tokens, servers that others reach, and how often one may ask."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import SettingError
from schemas.settings import resolve
from serving.guard import is_private
from serving.keys import Keys
from serving.limits import Buckets, network, WrongKeys
from serving.response import RequestError
from serving.routes import table
from serving.server import _banner
from serving.user_tokens import UserTokens
from tests.conftest import Built
from tests.serving.conftest import copied, ROOT, serving
from tests.serving.inside import Inside, inside, Reply
from warehouse import keys
from warehouse.layout import Warehouse

SECRET = "0123456789abcdef0123456789abcdef"
NO_KEY = {b"authorization": None}
SCOPES_OF_WRITES = {
    ("POST", "/ratings"): "ratings", ("PUT", "/ratings"): "ratings", ("DELETE", "/ratings"): "ratings", ("DELETE", "/ratings/1/1"): "ratings",
    ("POST", "/releases"): "run", ("GET", "/runs/x"): "run", ("POST", "/releases/x/promote"): "promote",
    ("PUT", "/items/x/hidden"): "items", ("DELETE", "/items/1/hidden"): "items", ("GET", "/hidden"): "items",
}  # fmt: skip
OF_A_USER = ["/recommend/1", "/why/1/1", "/predict/1/1", "/ratings/1"]
OF_ITEMS = ["/items/1", "/similar/1", "/similar?items=1", "/popular", "/genres", "/search?q=a"]
STRANGER, OTHER = "203.0.113.7", "203.0.113.8"


@pytest.fixture(scope="module")
def folder(movie_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(movie_release, tmp_path_factory.mktemp("keys") / "movies")


@pytest.fixture(scope="module")
def of(folder: Path) -> dict[str, str]:
    """A key for each scope alone."""
    return {scope: keys.create(Warehouse(folder), scope, scopes=[scope]) for scope in keys.SCOPES}


@pytest.fixture(scope="module")
def open_to_all(folder: Path, of: dict[str, str]) -> Iterator[Inside]:
    with inside(folder, of["ratings"]) as asked:
        yield asked


@pytest.fixture(scope="module")
def private(folder: Path, of: dict[str, str]) -> Iterator[Inside]:
    with inside(folder, of["read"], private=True, user_token_secret=SECRET) as asked:
        yield asked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that limits go by: they stand still until a test moves them."""
    now = [1000.0]
    monkeypatch.setattr("serving.access.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def bearer(text: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {text}".encode()}


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def user_token(sub: Any = 1, *, secret: str = SECRET, expires_in: Any = 60, head: Any = None, **claims: Any) -> str:
    """A token as README makes it."""
    head = head or {"alg": "HS256", "typ": "JWT"}
    signed = f"{part(head)}.{part({'sub': sub, 'exp': int(time.time()) + expires_in, **claims})}"
    return f"{signed}.{base64.urlsafe_b64encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)).rstrip(b'=').decode()}"


def test_every_write_has_a_scope_that_there_is() -> None:
    routes = table(is_read_only=False)
    assert {route.scope for route in routes} - {None} <= keys.SCOPES.keys()
    for route in routes:
        assert (route.scope is None) == (
            route.method == "GET" and route.name not in ("show_run", "list_hidden") or route.name in ("recommend_session", "rank")
        ), route.name
        assert not route.for_users or route.scope is None and route.method == "GET"


@pytest.mark.parametrize(("method", "path"), SCOPES_OF_WRITES)
def test_a_key_without_the_scope_is_refused_by_its_name(method: str, path: str, open_to_all: Inside, of: dict[str, str]) -> None:
    needed = SCOPES_OF_WRITES[method, path]
    for scope, key in of.items():
        reply = open_to_all.ask(method, path.encode(), b"{}", bearer(key))
        if scope == needed:
            assert reply.status != 401 and "scope" not in reply.json().get("error", ""), reply.body
        else:
            assert reply.status == 403 and f"the scope {needed};" in reply.json()["error"] and f"has {scope}." in reply.json()["error"]


def test_a_private_server_reads_with_the_scope_read(private: Inside, of: dict[str, str]) -> None:
    for path in (b"/recommend/1", b"/", b"/metrics", b"/cinematch.json?sql=select+1", b"/-/cinematch/cinematch.css"):
        assert private.ask("GET", path, headers=NO_KEY).status == 401
        refused = private.ask("GET", path, headers=bearer(of["ratings"]))
        assert refused.status == 403 and "the scope read;" in refused.json()["error"], path
    for path in (b"/recommend/1", b"/cinematch.json?sql=select+1"):
        assert private.ask("GET", path).status == 200


def test_a_key_may_have_its_scopes_in_the_setting(folder: Path, of: dict[str, str]) -> None:
    text = f"{keys.digest_of('plain')}, promote+run:{keys.digest_of('both').upper()}"
    with inside(folder, "plain", api_key_hashes=text) as asked:
        assert asked.ask("DELETE", b"/ratings/1/77777").status == 404
        assert asked.ask("POST", b"/releases/x/promote").status == 403
        assert asked.ask("POST", b"/releases/x/promote", headers=bearer("both")).status == 404
        assert asked.ask("DELETE", b"/ratings/1/77777", headers=bearer("both")).status == 403
    for wrong in ("write:" + keys.digest_of("a"), ":" + keys.digest_of("a"), "abc", "ratings"):
        with pytest.raises(SettingError, match="api_key_hashes"):
            Keys(Warehouse(folder), wrong)


def test_a_key_expires_and_is_revoked_and_its_last_use_is_kept(movie_release: Built, tmp_path: Path) -> None:
    warehouse = Warehouse(copied(movie_release, tmp_path / "own"))
    soon = datetime.now(UTC) + timedelta(hours=1)
    short, long = (keys.create(warehouse, name, expires_at=at) for name, at in (("short", soon), ("long", None)))
    with inside(warehouse.folder, long) as asked:
        for key in (short, long):
            assert asked.ask("DELETE", b"/ratings/1/77777", headers=bearer(key)).status == 404
        asked.look()
        used = keys.read_used(warehouse.keys_used)
        assert used.keys() == {keys.digest_of(short), keys.digest_of(long)}
        asked.service.now = lambda: soon.timestamp() + 1
        expired = asked.ask("DELETE", b"/ratings/1/77777", headers=bearer(short))
        assert expired.status == 401 and "expired" in expired.json()["error"]
        assert asked.ask("DELETE", b"/ratings/1/77777", headers=bearer(long)).status == 404
        keys.revoke(warehouse, "long")
        asked.look()
        assert asked.ask("DELETE", b"/ratings/1/77777", headers=bearer(long)).status == 401


def test_a_key_is_taken_at_once_and_one_that_is_none_is_told_so(movie_release: Built, tmp_path: Path) -> None:
    """Without the look that a server takes each second: the command that makes a key says that it counts at once."""
    warehouse = Warehouse(copied(movie_release, tmp_path / "own"))
    with inside(warehouse.folder, "not made yet") as asked:
        refused = asked.ask("DELETE", b"/ratings/1/77777", headers=bearer("wrong"))
        assert refused.status == 403 and "no API key" in refused.json()["error"]
        for name in ("first", "second"):
            key = keys.create(warehouse, name)
            assert asked.ask("DELETE", b"/ratings/1/77777", headers=bearer(key)).status == 404
        refused = asked.ask("DELETE", b"/ratings/1/77777", headers=bearer("wrong"))
        assert refused.status == 401 and "the API key that was sent is none of this warehouse's" in refused.json()["error"]
        assert "this needs an API key" in asked.ask("DELETE", b"/ratings/1/77777", headers={b"authorization": None}).json()["error"]


def test_the_description_names_the_scope_of_each_operation(open_to_all: Inside, private: Inside) -> None:
    for asked in (open_to_all, private):
        document = asked.ask("GET", b"/openapi.json").json()
        for route in table(is_read_only=False):
            operation = document["paths"]["/openapi.json" if route.path == "/openapi" else route.path][route.method.lower()]
            wanted = [{"key": [route.scope]}] if route.scope else []
            if asked is private and not route.scope and not route.is_open:
                wanted = [{"key": ["read"]}, *([{"user_token": []}] if route.for_users else [])]
            assert operation.get("security", []) == wanted
            assert all(status in operation["responses"] for status in ("401", "403", "429")) or not wanted
            assert {name for each in wanted for name in each} <= document["components"]["securitySchemes"].keys()


def test_a_token_reads_what_is_its_users_own_and_items(private: Inside) -> None:
    token = user_token(1)
    for path in OF_A_USER + OF_ITEMS:
        reply = private.ask("GET", path.encode(), headers=bearer(token))
        assert reply.status == 200 and private.ask("GET", path.encode()).status == 200, path
    assert private.ask("GET", b"/recommend/1.json", headers=bearer(user_token("1"))).status == 200
    assert private.ask("GET", b"/recommend/%31", headers=bearer(token)).status == 200


def test_a_token_reads_nothing_else(private: Inside) -> None:
    token, own = user_token(1), {path.replace("/1", "/2", 1) for path in OF_A_USER}
    for path in [*own, "/recommend/11", "/", "/metrics", "/openapi.json", "/releases", "/cinematch", "/cinematch/users.json", "/cinematch.json?sql=select+1",
                 "/-/settings.json", "/recommend/01", "/recommend/%2031"]:  # fmt: skip
        reply = private.ask("GET", path.encode(), headers=bearer(token))
        assert reply.status == 403 and "user's token" in reply.json()["error"], path
    for method, path in [*SCOPES_OF_WRITES, ("POST", "/recommend/session")]:
        assert private.ask(method, path.encode(), b"{}", bearer(token)).status == 403, path


@pytest.mark.parametrize(("claims", "why"), [
    ({"expires_in": -1}, "expired"), ({"expires_in": 90_000}, "more than"), ({"exp": "soon"}, "no expiry"), ({"exp": None}, "no expiry"), ({"exp": float("nan")}, "expired"),
    ({"nbf": 4e9}, "nbf"), ({"aud": "others"}, "aud"), ({"sub": None}, "names no user"), ({"sub": True}, "names no user"), ({"sub": [1]}, "names no user"),
    ({"secret": SECRET[:-1] + "x"}, None), ({"head": {"alg": "none"}}, None), ({"head": {"alg": "HS512"}}, None), ({"head": {"alg": "HS256", "crit": ["x"]}}, None),
    ({"head": ["HS256"]}, None),
])  # fmt: skip
def test_a_token_that_must_not_be_reads_nothing(claims: dict, why: str | None, private: Inside) -> None:
    token = user_token(**claims)
    reply = private.ask("GET", b"/recommend/1", headers=bearer(token))
    assert reply.status == 401 and reply.json()["error"].find(why or "this server is private") >= 0
    assert token not in reply.body.decode()


@pytest.mark.parametrize("altered", [
    lambda token: token[:-1], lambda token: token + "A", lambda token: token + "=", lambda token: token[:-20], lambda token: token.rpartition(".")[0] + ".",
    lambda token: token.rpartition(".")[0], lambda token: "..", lambda token: token.replace(".", "..", 1), lambda token: token.swapcase(), lambda token: token + "\u00e9",
    lambda token: f"{part({'alg': 'none'})}.{part({'sub': 1, 'exp': 4e9})}.",
])  # fmt: skip
def test_a_token_that_is_not_as_it_was_made_reads_nothing(altered: Callable[[str], str], private: Inside) -> None:
    assert private.ask("GET", b"/recommend/1", headers=bearer(altered(user_token()))).status == 401


def test_a_token_of_another_user_does_not_become_ones_own_by_a_change(private: Inside) -> None:
    head, claims, signature = user_token(2).split(".")
    altered = {**json.loads(base64.urlsafe_b64decode(claims + "==")), "sub": 1}
    assert private.ask("GET", b"/recommend/1", headers=bearer(f"{head}.{part(altered)}.{signature}")).status == 401


def test_no_token_counts_without_a_secret_and_a_short_one_is_refused(folder: Path, of: dict[str, str]) -> None:
    with inside(folder, of["read"], private=True) as asked:
        assert asked.ask("GET", b"/recommend/1", headers=bearer(user_token(1, secret=""))).status == 401
    with pytest.raises(SettingError, match="at least 32 bytes, got 5") as refused:
        UserTokens("hello")
    assert "hello" not in str(refused.value)
    assert SECRET not in repr(resolve({}, {"CINEMATCH_USER_TOKEN_SECRET": SECRET}))


@pytest.mark.parametrize(("flags", "expected"), [
    ({}, False), ({"host": "localhost"}, False), ({"host": "127.9.9.9"}, False), ({"host": "::1"}, False), ({"host": "0.0.0.0"}, True), ({"host": "::"}, True),
    ({"host": "192.168.1.2"}, True), ({"host": "films.example"}, True), ({"host": "0.0.0.0", "public": "true"}, False), ({"private": "true"}, True),
    ({"public": "true"}, False), ({"host": "::", "private": "true"}, True),
])  # fmt: skip
def test_a_server_that_others_reach_is_private_unless_told_otherwise(flags: dict[str, str], expected: bool) -> None:
    assert is_private(resolve(flags, {})) == expected


def test_private_and_public_contradict(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="got both"):
        is_private(resolve({"private": "true", "public": "true"}, {}))


def test_the_start_says_who_may_read_and_why(folder: Path, of: dict[str, str]) -> None:
    for flags, said in [
        ({}, None),
        ({"host": "0.0.0.0"}, "others than this machine reach 0.0.0.0; --public"),
        ({"host": "0.0.0.0", "public": True}, "Public: whoever"),
    ]:
        with inside(folder, of["ratings"], **flags) as asked:
            lines = _banner(asked.service, asked.service.settings, 8001).splitlines()[1:]
            assert lines == [] if said is None else said in lines[0]
            assert asked.ask("GET", b"/popular").status == (403 if said and said.startswith("others") else 200)


def test_a_real_server_is_private(folder: Path, of: dict[str, str]) -> None:
    with serving(folder, "--private", key=of["read"]) as server:
        assert "Private: every read" in server.process.stdout.readline()
        assert server.get("/recommend/1").status_code == 401 and server.get("/recommend/1", headers=server.auth).status_code == 200
        # a proxy on this machine says for whom it asks
        wrong = {"x-forwarded-for": STRANGER, "authorization": "Bearer wrong"}
        statuses = [server.get("/recommend/1", headers=wrong).status_code for _ in range(15)]
        assert statuses[:5] == [401] * 5 and 429 in statuses
        assert server.get("/recommend/1", headers={**server.auth, "x-forwarded-for": OTHER}).status_code == 200


def test_wrong_keys_wait_longer_and_longer_and_nobody_else_does(folder: Path, of: dict[str, str], clock: list[float]) -> None:
    with inside(folder, of["read"], private=True) as asked:

        def ask(key: str, client: str = STRANGER) -> Reply:
            return asked.ask("GET", b"/popular", headers=bearer(key), client=client)

        assert [ask("wrong").status for _ in range(5)] == [401] * 5
        waits = []
        for _ in range(11):
            reply = ask("wrong")
            assert reply.status == 429 and "wrong keys" in reply.json()["error"]
            assert ask(of["read"]).status == 429, "or the answer would tell which key is right"
            waits.append(int(reply.headers[b"retry-after"]))
            clock[0] += waits[-1]
            assert ask("wrong").status == 401
        assert waits[:5] == [1, 2, 4, 8, 16] and waits[-1] == 300
        assert ask(of["read"], OTHER).status == 200 and asked.ask("GET", b"/health/live", client=STRANGER).status == 200
        clock[0] += 301
        assert ask(of["read"]).status == 200
        assert [ask("wrong").status for _ in range(2)] == [401, 429] and ask(of["read"]).status == 200, (
            "a key that was right from there goes on"
        )
        assert ask(of["ratings"]).status == 429
        for _ in range(20):
            assert ask("wrong", "127.0.0.1").status == 401


def test_reads_are_counted_by_key_and_by_address(folder: Path, of: dict[str, str], clock: list[float]) -> None:
    with inside(folder, of["read"], key_reads=1, address_reads=2) as asked:
        for path in (b"/popular?n=1", b"/-/cinematch/cinematch.css"):
            assert b"ratelimit" not in asked.ask("GET", path, headers=NO_KEY).headers, "this machine is not counted"
        replies = [asked.ask("GET", b"/popular?n=1", headers=NO_KEY, client=STRANGER) for _ in range(20)]
        assert all(reply.status == 200 and reply.headers[b"ratelimit-policy"] == b'"address";q=20;w=10' for reply in replies)
        assert replies[0].headers[b"ratelimit"] == b'"address";r=19;t=1' and replies[-1].headers[b"ratelimit"].startswith(
            b'"address";r=0;t='
        )
        for path in (b"/popular?n=1", b"/cinematch/items.json", b"/nowhere"):
            refused = asked.ask("GET", path, headers=NO_KEY, client=STRANGER)
            assert (
                refused.status == 429 and refused.headers[b"retry-after"] == b"1" and refused.headers[b"ratelimit"] == b'"address";r=0;t=10'
            ), path
        assert asked.ask("GET", b"/popular?n=1", headers=bearer("wrong"), client=STRANGER).status == 429
        assert asked.ask("GET", b"/health/live", headers=NO_KEY, client=STRANGER).status == 200
        assert asked.ask("GET", b"/popular?n=1", headers=NO_KEY, client=OTHER).status == 200
        for client in (STRANGER, OTHER) * 5:
            assert asked.ask("GET", b"/popular?n=1", client=client).headers[b"ratelimit-policy"] == b'"key";q=10;w=10'
        assert asked.ask("GET", b"/popular?n=1").status == 429, "a key counts wherever it comes from"
        clock[0] += 1
        assert [asked.ask("GET", b"/popular?n=1").status for _ in range(2)] == [200, 429]
        assert asked.ask("GET", b"/popular?n=1", headers=bearer(of["run"])).status == 200
    with inside(folder, of["read"], address_reads=0) as asked:
        assert b"ratelimit" not in asked.ask("GET", b"/popular?n=1", headers=NO_KEY, client=STRANGER).headers


def test_a_bucket_fills_again() -> None:
    bucket = Buckets("key", 2)
    assert [bucket.take("a", 100.0)[1][1] for _ in range(20)][-1] == b'"key";r=0;t=10'
    for now, is_taken in ((100.0, False), (100.4, False), (100.5, True), (100.5, False), (101.5, True), (101.5, True), (101.5, False)):
        if is_taken:
            bucket.take("a", now)
        else:
            with pytest.raises(Exception, match="more than 2 reads a second of one key"):
                bucket.take("a", now)
    assert bucket.take("a", 1000.0)[1][1] == b'"key";r=19;t=1' == bucket.take("b", 0.0)[1][1]


def test_what_is_more_than_a_whole_bucket_is_let_in_when_that_is_full_and_waited_for() -> None:
    bucket = Buckets("key", 10, what="ratings", burst_s=1)
    bucket.take("a", 100.0, 35)
    with pytest.raises(RequestError, match="more than 10 ratings a second of one key") as refused:
        bucket.take("a", 101.0, 1)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "2")
    bucket.take("a", 102.6, 1)
    with pytest.raises(RequestError) as refused:
        bucket.take("a", 102.6, 35)
    assert refused.value.headers["retry-after"] == "1"
    bucket.take("b", 102.6, 10)


def test_what_is_known_of_addresses_is_bounded() -> None:
    bucket, wrong = Buckets("address", 1), WrongKeys()
    for number in range(20_000):
        bucket.take(number, 0.0)
        wrong.add(str(number), 0.0)
        wrong.was_right(str(number), "key")
    assert len(bucket._full_at) == len(wrong._wrong) == len(wrong._right) == 10_000


def test_old_wrong_keys_are_forgotten() -> None:
    wrong = WrongKeys()
    for _ in range(8):
        wrong.add("a", 0.0)
    assert wrong.wait_s("a", None, 0.0) == 8 and wrong.wait_s("a", None, 8.0) == 0
    wrong.add("a", 1000.0)
    assert wrong.wait_s("a", None, 1000.0) == 0


def test_an_address_counts_as_whom_it_belongs_to() -> None:
    assert network("127.0.0.1") is network("::1") is network("::ffff:127.0.0.1") is network("") is network("a name") is None
    assert network("203.0.113.7") == network("::ffff:203.0.113.7") == "203.0.113.7"
    assert network("2001:db8::1") == network("2001:db8::ffff") != network("2001:db8:0:1::1")


def test_secrets_have_no_flag(folder: Path) -> None:
    for command in ([sys.executable, "-m", "serving"], [str(Path(sys.executable).with_name("cinematch")), "serve"]):
        done = subprocess.run(
            [*command, "--user-token-secret", SECRET, "--warehouse", str(folder)], capture_output=True, text=True, cwd=ROOT, timeout=30
        )
        assert done.returncode == 2 and "unrecognized" in done.stderr
