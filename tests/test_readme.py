"""README.md says what is: its generated parts are current, and what it names exists."""

from __future__ import annotations

import argparse
import re
import shlex
import sqlite3
from contextlib import closing

import pytest

from jobs.bench.readme import README, rendered
from jobs.cli import parser
from tests.conftest import Built

TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
FENCED = [text for language, text in BLOCKS if not language]


def command_lines() -> list[str]:
    """Every `cinematch ...` line of a fenced block, its continuations joined, its alternatives split."""
    joined = re.sub(r"\\\n\s*", " ", "\n".join(FENCED))
    columns = [part for line in joined.splitlines() for part in re.split(r"\s{3,}", line.strip())]
    return [line for line in columns if line.startswith("cinematch ")]


def test_generated_parts_are_current():
    assert rendered(TEXT) == TEXT, "run `make docs`"


def test_a_part_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="no place for"):
        rendered(TEXT.replace("<!-- settings: generated -->", ""))


@pytest.mark.parametrize("line", command_lines())
def test_named_commands_are_commands(line: str):
    """Each parses, flags included; `a | b | c` names several actions with the same arguments."""
    words = shlex.split(line)[1:]
    groups = [words]
    if "|" in words:
        shared = [] if words[0] != "releases" else words[:1]
        alternatives = " ".join(words[len(shared) :]).split(" | ")
        groups = [shared + part.split() for part in alternatives]
    for group in groups:
        group = _with_arguments(group)
        assert isinstance(parser().parse_args(group), argparse.Namespace)


def _with_arguments(words: list[str]) -> list[str]:
    """Alternatives share the last one's option: `ingest | train --release ID`."""
    needs_release = words[0] in ("ingest", "train", "evaluate", "recommend", "seal", "promote") and "--release" not in words
    return words + ["--release", "ID"] if needs_release else words


def test_questions_to_the_catalogue_are_answered(purchase_release: Built):
    """All but the comparison of two releases, of which there is one here, give rows."""
    (block,) = [text for language, text in BLOCKS if language == "sql" and "from promotions" in text]
    questions = re.findall(r"^-- (.*?)\n(.*?);$", block, re.MULTILINE | re.DOTALL)
    assert len(questions) == 4
    with closing(sqlite3.connect(purchase_release.warehouse.catalog)) as catalog:
        for title, sql in questions:
            assert catalog.execute(sql).fetchall() or "side by side" in title, title
        served = catalog.execute(dict(questions)["which model served when, and why"]).fetchone()
    manifest = purchase_release.manifest
    assert served[1:] == (None, manifest.release, manifest.served_model, "verdict", "promote", manifest.verdict["reason"])


def test_there_are_commands_to_check():
    assert len(command_lines()) >= 10


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", TEXT))))
def test_named_make_targets_exist(target: str):
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
