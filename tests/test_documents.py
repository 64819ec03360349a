"""The documents say what is: generated parts are current, commands parse, make targets and linked files exist."""

from __future__ import annotations

import argparse
import re
import shlex
import sqlite3
import subprocess
from contextlib import closing

import pytest

from jobs.bench.readme import PARTS, rendered
from jobs.cli import parser
from tests.conftest import Built, ROOT

DOCUMENTS = sorted(
    name for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split() if name != "CHANGELOG.md"
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
FENCED = [text for language, text in BLOCKS if not language]


def command_lines() -> list[str]:
    """Every `cinematch ...` line of a fenced block, its continuations joined, its alternatives split."""
    joined = re.sub(r"\\\n\s*", " ", "\n".join(FENCED))
    columns = [part for line in joined.splitlines() for part in re.split(r"\s{3,}", line.strip())]
    return [line for line in columns if line.startswith("cinematch ")]


@pytest.mark.parametrize("document", PARTS)
def test_generated_parts_are_current(document: str):
    assert rendered(document, TEXTS[document]) == TEXTS[document], "run `make docs`"


def test_a_part_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="schemas/README.md has no place for settings"):
        rendered("schemas/README.md", TEXTS["schemas/README.md"].replace("<!-- settings: generated -->", ""))


def test_a_stranger_reads_the_first_page_in_five_minutes():
    assert len(TEXTS["README.md"].splitlines()) <= 250


@pytest.mark.parametrize("document", DOCUMENTS)
def test_linked_files_and_headings_exist(document: str):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[document]):
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), f"{document}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, f"{document}: {target}"


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
    assert len(questions) == 5
    with closing(sqlite3.connect(purchase_release.warehouse.catalog)) as catalog:
        for title, sql in questions:
            assert catalog.execute(sql).fetchall() or "side by side" in title, title
        served = catalog.execute(dict(questions)["which model served when, and why"]).fetchone()
    manifest = purchase_release.manifest
    assert served[1:] == (None, manifest.release, manifest.served_model, "verdict", "promote", manifest.verdict["reason"])


def test_there_are_commands_to_check():
    assert len(command_lines()) >= 10


@pytest.mark.parametrize(
    "target",
    sorted(
        {
            target
            for text in TEXTS.values()
            for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.M)
            for target in target
            if target
        }
    ),
)
def test_named_make_targets_exist(target: str):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
