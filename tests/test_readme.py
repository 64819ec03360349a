"""README.md says what is: its generated parts are current, and what it names exists."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from jobs.cli import parser
from jobs.readme import README, rendered

TEXT = README.read_text(encoding="utf-8")
FENCED = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


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
        alternatives = " ".join(words[len(shared):]).split(" | ")
        groups = [shared + part.split() for part in alternatives]
    for group in groups:
        group = _with_arguments(group)
        assert isinstance(parser().parse_args(group), argparse.Namespace)


def _with_arguments(words: list[str]) -> list[str]:
    """Alternatives share the last one's option: `ingest | train --release ID`."""
    needs_release = words[0] in ("ingest", "train", "evaluate", "recommend", "seal", "promote") and "--release" not in words
    return words + ["--release", "ID"] if needs_release else words


def test_there_are_commands_to_check():
    assert len(command_lines()) >= 10


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", TEXT))))
def test_named_make_targets_exist(target: str):
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
