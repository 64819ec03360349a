"""The contract of a release: its file, the command, and a promotion that does not break it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from schemas.contract import contract, FILE
from schemas.errors import HeldBack, NotFound, ReleaseError
from schemas.manifest import Manifest
from tests.conftest import Built
from tests.serving.conftest import clone, copied
from warehouse import contracts
from warehouse.layout import Release, Warehouse
from warehouse.promotion import promote

DATACONTRACT = shutil.which("datacontract")


@pytest.fixture
def warehouse(movie_release: Built, tmp_path: Path) -> Warehouse:
    return Warehouse(copied(movie_release, tmp_path / "warehouse"))


def with_contract(release: Release, text: str) -> None:
    """Put another contract into a sealed release, and its size and digest into the manifest."""
    from warehouse.release import digest

    release.folder.chmod(0o755)
    path = release.folder / FILE
    path.chmod(0o644)
    path.write_text(text, encoding="utf-8")
    manifest = json.loads(release.manifest.read_text(encoding="utf-8"))
    del manifest["sha256"]
    manifest["files"][FILE] = digest(path)
    release.manifest.chmod(0o644)
    release.manifest.write_text(Manifest.from_json(json.dumps(manifest), name=release.id).to_json(), encoding="utf-8")


def narrowed(release: Release) -> str:
    found = contracts.read(release)
    found["schema"][0]["properties"] = found["schema"][0]["properties"][1:]
    return contracts.text(found)


def test_a_release_has_its_contract_among_its_files(movie_release: Built) -> None:
    release = movie_release.warehouse.sealed(movie_release.release_id)
    assert contracts.read(release) == contract(movie_release.manifest.id_types)
    assert FILE in movie_release.manifest.files


def test_a_release_that_keeps_less_is_held_back_by_its_verdict_and_not_by_hand(warehouse: Warehouse, movie_release: Built) -> None:
    first, verdict = movie_release.release_id, {"decision": "promote", "reason": "better", "current": movie_release.release_id}
    second = clone(warehouse, first, "20990101T000000Z", verdict=verdict)
    with_contract(warehouse.sealed(second), narrowed(warehouse.sealed(first)))
    with pytest.raises(
        HeldBack, match=rf"does not keep the contract of {first}: items.item_id is gone; {first} goes on.*new major version"
    ):
        promote(warehouse, second, reason="", by="verdict")
    with_contract(warehouse.sealed(second), narrowed(warehouse.sealed(first)).replace("version: 1.0.0", "version: 2.0.0"))
    assert promote(warehouse, second, reason="", by="verdict") == first
    with_contract(warehouse.sealed(first), narrowed(warehouse.sealed(first)))
    assert promote(warehouse, first, reason="on purpose") == second


def test_a_contract_that_is_missing_or_damaged_is_said_and_stops_no_promotion(warehouse: Warehouse, movie_release: Built) -> None:
    first = movie_release.release_id
    second = clone(warehouse, first, "20990101T000000Z", verdict={"decision": "promote", "reason": "better", "current": first})
    for damage in ("a: [", "- 1", "\x00"):
        with_contract(warehouse.sealed(second), damage)
        with pytest.raises(ReleaseError, match=FILE):
            contracts.read(warehouse.sealed(second))
    assert contracts.broken(warehouse.sealed(first), warehouse.sealed(second)) == []
    assert promote(warehouse, second, reason="", by="verdict") == first
    (warehouse.sealed(first).folder / FILE).unlink()
    with pytest.raises(NotFound, match="built before there were contracts"):
        contracts.read(warehouse.sealed(first))


def test_the_command_writes_it_and_tells_what_is_otherwise(
    warehouse: Warehouse, movie_release: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    first, folder = movie_release.release_id, str(warehouse.folder)
    second = clone(warehouse, first, "20990101T000000Z")
    assert main(["contract"]) == 0 and yaml.safe_load(capsys.readouterr().out)["kind"] == "DataContract"
    assert main(["contract", first, "--warehouse", folder, "--diff", second]) == 0
    assert "the contracts promise the same" in capsys.readouterr().out
    with_contract(warehouse.sealed(second), narrowed(warehouse.sealed(first)))
    assert main(["contract", first, "--warehouse", folder, "--diff", second]) != 0
    said = capsys.readouterr()
    assert "breaks  items.item_id is gone" in said.out and "a new major version would say so" in said.err
    assert main(["contract", second, "--warehouse", folder, "--diff", first]) == 0
    assert "adds    items.item_id is new" in capsys.readouterr().out


def test_a_release_that_is_not_there_is_said(warehouse: Warehouse, movie_release: Built, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(warehouse.folder)
    assert main(["releases", "show", "nope", "--warehouse", folder]) == 6
    said = capsys.readouterr().err
    assert "release nope: not in" in said
    for arguments in (["nope"], [movie_release.release_id, "--diff", "nope"]):
        assert main(["contract", *arguments, "--warehouse", folder]) == 6
        assert capsys.readouterr().err == said


@pytest.mark.skipif(DATACONTRACT is None, reason="datacontract-cli is not installed")
def test_the_standards_own_tool_finds_it_valid_and_kept(movie_release: Built) -> None:
    folder = movie_release.warehouse.sealed(movie_release.release_id).folder
    for command in ("lint", "test"):
        ended = subprocess.run([str(DATACONTRACT), command, FILE], cwd=folder, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0 and "invalid" not in ended.stdout, ended.stdout[-2000:]
