"""Every broken source is held back for a reason that names its fault; every honest change passes."""

from __future__ import annotations

import re

import pytest

from jobs.ingest.data_limits import Change
from tests.jobs.ingest import sabotage

Said = tuple[dict[str, list[Change]], dict[str, list[Change]]]


@pytest.fixture(scope="module")
def said() -> Said:
    return sabotage.said()


def test_there_are_enough_of_both() -> None:
    assert len(sabotage.BROKEN) >= 20 and len(sabotage.HONEST) >= 20


@pytest.mark.parametrize("name", sabotage.BROKEN)
def test_a_broken_source_is_held_back_for_a_reason_that_names_the_fault(name: str, said: Said) -> None:
    found = [change.message for change in said[0][name]]
    assert any(re.search(sabotage.BROKEN[name][1], message) for message in found), found


@pytest.mark.parametrize("name", sabotage.HONEST)
def test_an_honest_change_passes(name: str, said: Said) -> None:
    assert said[1][name] == []


def test_the_documents_table_is_what_the_guard_says(said: Said) -> None:
    text = sabotage.DOCUMENT.read_text(encoding="utf-8")
    assert text == sabotage.rendered(text, sabotage.table(*said)), "write it again: python -m tests.jobs.ingest.sabotage"
