"""More releases in a copied warehouse, each really sealed; an export of a release, and a warehouse to import it into."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Built
from warehouse import archive
from warehouse.layout import Warehouse
from warehouse.sealing import seal

AddRelease = Callable[[Built, str], str]


def add_release(built: Built, release_id: str, **changed: object) -> str:
    """Seal the same content again under another id, as if it had been judged against the first. `changed` is of its manifest."""
    staged = built.warehouse.staged(release_id)
    shutil.copytree(built.release.folder, staged.folder)
    for folder in [staged.folder, *(path for path in staged.folder.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    staged.manifest.unlink()
    verdict = built.manifest.verdict | {"champion": built.release_id, "current": built.release_id}
    seal(built.warehouse, staged, replace(built.manifest, release=release_id, verdict=verdict, **changed))
    return release_id


@pytest.fixture
def copied(copy_warehouse, purchase_release: Built) -> Built:
    """A warehouse of its own for the test, with one promoted release."""
    return copy_warehouse(purchase_release)


@pytest.fixture(scope="module")
def exported(purchase_release: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive.write(purchase_release.warehouse, purchase_release.release_id, tmp_path_factory.mktemp("exported"))


@pytest.fixture
def empty(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "other")
