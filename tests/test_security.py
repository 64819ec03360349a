"""SECURITY.md: what it promises is shown by tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from schemas.settings import FIELDS, Settings
from serving.lookups.runs import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (API\d+) [^|]+ \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)
MENDED = re.findall(r"^\| (.+) \| (.+) \|$", TEXT.partition("| fault | shown by |\n|---|---|\n")[2], re.MULTILINE)
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", TEXT)


@cache
def functions(path: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_every_risk_has_what_holds_and_a_test() -> None:
    assert [name for name, _, _ in ROWS] == [f"API{number}" for number in range(1, 11)]
    assert all(len(holds) > 40 and "::test_" in shown for _, holds, shown in ROWS)


def test_every_fault_that_was_mended_has_a_test() -> None:
    assert len({fault for fault, _ in MENDED}) == len(MENDED) > 30 and all("::test_" in shown for _, shown in MENDED)


@pytest.mark.parametrize(("path", "name"), dict.fromkeys(NAMED))
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    assert name.startswith("test_") and name in functions(path)


def test_a_run_over_http_takes_no_address() -> None:
    """Nor anything else that says where data comes from: those settings are the operator's."""
    where = {name for name, declared in FIELDS.items() if declared.metadata.get("is_machine")} | {"source", "dataset", "columns"}
    assert set(PARAMETERS) <= {"models", "serve", "promote", "as_of"} and not where & set(PARAMETERS)
    assert Settings().host == "127.0.0.1" and not Settings().public


def test_whom_to_report_to_is_no_person() -> None:
    assert "private\nvulnerability reporting" in TEXT and not re.search(r"[\w.]+@[\w-]+\.\w+", TEXT)
