"""Supply chain: every installed file is one whose digest is written down, and the production image holds no test tools."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-airflow.lock", "requirements-test.lock")
TEST_TOOLS = {"pytest", "hypothesis", "iniconfig", "bandit", "cyclonedx-bom"}
NOSEC = re.compile(r"#\s*nosec\b(.*)")


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
    assert set(pinned("requirements-test.lock")) >= TEST_TOOLS
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


def recipe(target: str, **variables: str) -> list[str]:
    """The words of a target's command, with the programs of this environment."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    line = re.search(rf"^{target}:.*\n\t(.*)$", text, re.MULTILINE)[1]
    for name, value in {"VENV": str(Path(sys.executable).parents[1]), **variables}.items():
        line = line.replace(f"$({name})", value)
    return [word for word in shlex.split(line) if not re.fullmatch("[A-Z]+=.*", word)]


def test_the_bill_of_materials_has_what_the_image_installs_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sbom.cdx.json"
    made = subprocess.run(
        recipe("sbom", SBOM=str(path)), cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "ignore"}, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    bill = json.loads(path.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "cinematch")
    locked = pinned("requirements-airflow.lock")
    assert {normalised(one["name"]): one["version"] for one in bill["components"]} == {
        name: version for name, (version, _) in locked.items()
    }
    for one in bill["components"]:
        hashes = {made["content"] for reference in one["externalReferences"] for made in reference["hashes"]}
        assert len(hashes) == locked[normalised(one["name"])][1] and one["purl"] == f"pkg:pypi/{normalised(one['name'])}@{one['version']}"


def test_no_call_of_ours_is_dangerous_but_those_whose_line_says_why_not() -> None:
    found = subprocess.run(recipe("audit"), cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]


def test_an_exception_of_the_audit_names_its_finding_and_its_reason() -> None:
    folders = [ROOT / word for word in recipe("audit") if (ROOT / word).is_dir() and word != recipe("audit")[0]]
    said = [
        (path, match[1])
        for folder in folders
        for path in folder.rglob("*.py")
        for match in NOSEC.finditer(path.read_text(encoding="utf-8"))
    ]
    assert len(said) > 30
    bare = [f"{path.relative_to(ROOT)}: {text}" for path, text in said if not re.fullmatch(r" B\d{3}(, B\d{3})*  # \S.{5,}", text)]
    assert not bare
