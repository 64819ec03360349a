"""Supply chain: every installed file is one whose digest is written down, and the production image holds no test tools."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-airflow.lock", "requirements-test.lock")
TEST_TOOLS = {"pytest", "hypothesis", "iniconfig"}


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """Version and number of digests of each package of a lock."""
    entries = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = {}
    for entry in (entry for entry in entries if entry.strip() and not entry.startswith("#")):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})*)\s*", entry)
        assert match, f"{lock}: {entry[:80]!r} is no pinned package with digests"
        found[normalised(match[1])] = (match[2], match[3].count("--hash="))
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_the_digests_of_its_files(lock: str) -> None:
    packages = pinned(lock)
    assert len(packages) > 40 and [name for name, (_, n_digests) in packages.items() if n_digests == 0] == []


def test_locks_agree_with_each_other_and_with_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    base, airflow, test = (pinned(lock) for lock in LOCKS)
    assert base.items() <= airflow.items() and base.items() <= test.items()
    assert all(airflow[name] == entry for name, entry in test.items() if name in airflow)
    declared = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    extras = project["project"]["optional-dependencies"]
    for lock, requirements in ((base, declared), (airflow, extras["airflow"]), (test, extras["test"])):
        for requirement in requirements:
            name, version = requirement.split("==")
            assert lock[normalised(name)][0] == version, requirement


def test_no_test_tool_is_in_production() -> None:
    assert TEST_TOOLS <= set(pinned("requirements-test.lock"))
    assert not TEST_TOOLS & set(pinned("requirements.lock")), "what `make run` installs"
    assert not TEST_TOOLS & set(pinned("requirements-airflow.lock")), "what the image installs"


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_whatever_is_installed_is_checked_against_its_digest(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace("$(INSTALL)", "pip install --require-hashes")
    installs = [line.strip() for line in text.splitlines() if "pip install" in line and not line.startswith("INSTALL")]
    assert installs
    for line in installs:
        is_own = "--no-deps" in line and "--no-build-isolation" in line
        is_lock_maker = "pip-tools==" in line
        assert "--require-hashes" in line or is_own or is_lock_maker, line
