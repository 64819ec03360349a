"""Keys in the warehouse: what is kept of them, and what the commands say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, UTC
from pathlib import Path

import pytest

from jobs.cli import main
from schemas.errors import NotFound, SettingError, UsageError
from warehouse import keys
from warehouse.layout import Warehouse

NOW = datetime.now(UTC).replace(microsecond=0)


def test_a_key_is_kept_as_a_digest_with_what_it_may(tmp_path: Path) -> None:
    warehouse, before = Warehouse(tmp_path), datetime.now(UTC).replace(microsecond=0)
    key = keys.create(warehouse, "shop", scopes=["read", "ratings"], expires_at=NOW + timedelta(days=1))
    (kept,) = keys.read(warehouse.keys).values()
    assert kept == keys.Key("shop", keys.digest_of(key), ("ratings", "read"), kept.created_at, NOW + timedelta(days=1))
    assert before <= kept.created_at <= datetime.now(UTC)
    assert key not in warehouse.keys.read_text() and warehouse.keys.stat().st_mode & 0o077 == 0
    assert keys.read(warehouse.keys)["shop"].has_expired(NOW + timedelta(days=1)) and not kept.has_expired(NOW)


def test_without_scopes_a_key_writes_ratings_alone(tmp_path: Path) -> None:
    keys.create(Warehouse(tmp_path), "one")
    assert keys.read(Warehouse(tmp_path).keys)["one"].scopes == ("ratings",)


def test_a_key_from_before_there_were_scopes_neither_promotes_nor_runs(tmp_path: Path) -> None:
    (tmp_path / "api_keys.json").write_text(json.dumps({"old": {"sha256": "0" * 64, "created_at": "2025-01-01T00:00:00+00:00"}}))
    assert keys.read(tmp_path / "api_keys.json")["old"].scopes == ("ratings", "read")
    keys.create(Warehouse(tmp_path), "new")
    assert keys.read(tmp_path / "api_keys.json")["old"].scopes == ("ratings", "read")


@pytest.mark.parametrize(("named", "error", "message"), [
    ({"name": "a\nb"}, UsageError, "--name"), ({"name": ""}, UsageError, "--name"), ({"name": "one"}, UsageError, "already"),
    ({"scopes": ["write"]}, UsageError, "expected some of ratings"), ({"scopes": []}, UsageError, "got none"),
    ({"expires_at": NOW - timedelta(days=1)}, UsageError, "a time to come"),
])  # fmt: skip
def test_a_key_that_cannot_be_is_not_made(named: dict, error: type, message: str, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    keys.create(warehouse, "one")
    before = warehouse.keys.read_bytes()
    with pytest.raises(error, match=message):
        keys.create(warehouse, **{"name": "two", **named})
    assert warehouse.keys.read_bytes() == before


@pytest.mark.parametrize("text", [
    "[]", "{", '{"a": {"sha256": "x"}}', '{"a": {}}', '{"a": {"sha256": "%s", "expires_at": "soon"}}', '{"a": {"sha256": "%s", "expires_at": "2030-01-01T00:00"}}',
    '{"a": {"sha256": "%s", "scopes": "ratings"}}', '{"a": {"sha256": "%s", "scopes": [1]}}',
])  # fmt: skip
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "api_keys.json").write_text(text.replace("%s", "0" * 64))
    with pytest.raises(SettingError, match="not a file of API keys"):
        keys.create(Warehouse(tmp_path), "two")


def test_the_last_use_of_keys_that_are_there_is_kept_and_never_goes_back(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    one, two = (keys.digest_of(keys.create(warehouse, name)) for name in ("one", "two"))
    keys.note_used(warehouse, {one: NOW, two: NOW, "f" * 64: NOW})
    keys.note_used(warehouse, {one: NOW - timedelta(hours=1), two: NOW + timedelta(hours=1)})
    assert keys.read_used(warehouse.keys_used) == {one: NOW, two: NOW + timedelta(hours=1)}
    keys.revoke(warehouse, "two")
    keys.note_used(warehouse, {})
    assert keys.read_used(warehouse.keys_used) == {one: NOW}
    warehouse.keys_used.write_text("garbage")
    assert keys.read_used(warehouse.keys_used) == {}
    with pytest.raises(NotFound, match="'one'"):
        keys.revoke(warehouse, "two")


def test_the_commands_make_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["keys", *words, "--warehouse", str(tmp_path)])
        return (status, *capsys.readouterr())

    status, key, said = run("create", "--name", "shop", "--scopes", "read,promote", "--expires", "30")
    assert status == 0 and key.startswith("cm_") and "promote, read until" in said and key.strip() not in said
    assert run("create", "--name", "until", "--expires", "2100-01-01")[0] == 0
    for wrong in ("0", "-1", "nan", "1e9", "tomorrow", "2001-01-01"):
        status, shown, said = run("create", "--name", "wrong", "--expires", wrong)
        assert status == 2 and not shown and "--expires" in said, wrong
    keys.note_used(Warehouse(tmp_path), {keys.digest_of(key.strip()): NOW})
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}
    assert (
        rows["shop"]["scopes"] == ["promote", "read"]
        and rows["shop"]["status"] == "valid"
        and rows["until"]["expires_at"] == "2100-01-01T00:00:00Z"
    )
    assert rows["shop"]["used_at"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}" and rows["until"]["used_at"] is None
    shown = run("list")[1]
    assert "promote,read" in shown and key.strip() not in shown and keys.digest_of(key.strip()) not in shown
    assert run("revoke", "shop") == (0, "key 'shop' is revoked\n", "")
    status, shown, said = run("revoke", "shop")
    assert status == 6 and not shown and "'until'" in said
