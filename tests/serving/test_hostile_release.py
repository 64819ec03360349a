"""Releases with right digests and wrong contents: none is promoted over HTTP, and none brings markup into a page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.serving.conftest import clone, serving
from tests.serving.inside import inside
from warehouse.layout import Release, Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id

Own = Callable[..., tuple[Path, str]]
BAD = "20990101T000000Z"


def with_file(warehouse: Warehouse, name: str, change: Callable[[Path], None]) -> Release:
    """A clone of the current release with another file, and a manifest to suit it."""
    now = warehouse.sealed(current_id(warehouse))
    clone(warehouse, now.id, BAD)
    release = warehouse.sealed(BAD)
    path = release.folder / name
    for one in (release.folder, path.parent):
        one.chmod(0o755)
    path.chmod(0o644)
    change(path)
    files = json.loads(release.manifest.read_text())["files"]
    files[name] = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    values = json.loads(release.manifest.read_text()) | {"files": files}
    values.pop("sha256")
    release.manifest.chmod(0o644)
    release.manifest.write_text(json.dumps(values))
    return release


SPOILED = {
    "factors of other items": ("model/ials/item_factors.npy", lambda path: np.save(path, np.zeros((3, 2), np.float32))),
    "ids of another kind": ("model/items/item_ids.npy", lambda path: np.save(path, np.array(["a", "b"]))),
    "no database": ("cinematch.db", lambda path: path.write_bytes(b"no database" * 1000)),
}


@pytest.mark.parametrize("name, spoil", SPOILED.values(), ids=SPOILED)
def test_what_no_server_can_open_is_not_promoted(name: str, spoil: Callable, own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    with_file(warehouse, name, spoil)
    with inside(folder, key) as server:
        refused = server.send("POST", f"/releases/{BAD}/promote?reason=test".encode())
        assert refused.status == 409 and BAD in refused.json()["error"], refused.body
        assert current_id(warehouse) == first == server.rows(b"/health/ready")[0]["release"]
        warehouse.current.write_text(BAD + "\n")
        server.follow()
        row = server.rows(b"/health/ready")[0]
        assert row["status"] == "degraded" and BAD in row["problem"] and row["release"] == first
        assert server.rows(b"/recommend/1")


@pytest.mark.parametrize(
    "changed",
    [
        {"created_at": "garbage"},
        {"ids": {"user_id": "uuid", "item_id": "uuid"}},
        {"settings": {}},
        {"checks": {}},
        {"checks": {"n_checks": 1, "n_failed": 0, "rows": [{"name": "no count"}]}},
    ],
    ids=str,
)
def test_a_manifest_that_would_stop_a_server_is_listed_as_damaged_and_not_promoted(changed: dict, own_movies: Own) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    clone(warehouse, first, BAD, **changed)
    with inside(folder, key) as server:
        assert {row["release"]: row["status"] for row in server.rows(b"/releases")} == {BAD: "damaged", first: "served"}
        refused = server.send("POST", f"/releases/{BAD}/promote?reason=test".encode())
        assert refused.status == 409 and "manifest.json is damaged" in refused.json()["error"]
        assert current_id(warehouse) == first


def test_descriptions_of_a_foreign_release_are_not_shown(own_movies: Own) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    evil = "<script>alert(1)</script>"

    def write(path: Path) -> None:
        query = {"sql": "select 1", "title": evil, "description_html": evil}
        tables = {"users": {"description_html": evil, "source_url": "javascript:alert(1)", "source": evil, "units": {"n_ratings": evil}}}
        described = {
            "description_html": evil,
            "license_url": "javascript:alert(1)",
            "license": evil,
            "queries": {"evil": query},
            "tables": tables,
        }
        path.write_text(
            json.dumps(
                {
                    "title": evil,
                    "description": evil,
                    "description_html": evil,
                    "source_url": "javascript:alert(1)",
                    "databases": {"cinematch": described},
                }
            )
        )

    with_file(warehouse, "metadata.json", write)
    promote(warehouse, BAD, reason="carried here")
    with serving(folder) as server:
        for path in ("/cinematch", "/cinematch/users", "/cinematch/list_of_user", "/-/metadata.json"):
            text = server.get(path).text
            assert "alert(1)" not in text and "javascript:alert" not in text, path
        assert "position in the list" in server.get("/cinematch/recommendations").text
        assert server.get("/cinematch/evil").status_code == 404
