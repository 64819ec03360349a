"""A certificate of erasure, followed until nothing names its user; pruning for the forgotten; giving a user what is held on them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, UTC
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from jobs.monitor.audit import audit
from jobs.privacy import erasure
from jobs.privacy.export_user import export
from jobs.privacy.forget import forget
from schemas.errors import NotFound, ReleaseError, UsageError
from tests.conftest import Built, small_settings
from tests.warehouse.conftest import add_release
from warehouse import archive, forgotten, overlay, parquet
from warehouse.layout import Warehouse
from warehouse.online import archive as archive_online
from warehouse.overlay import Entry
from warehouse.promotion import promote
from warehouse.pruning import prune
from warehouse.release import current_id, digests, sealed_ids
from warehouse.sealing import seal
from warehouse.shards import BY_USER
from warehouse.sqlite import open_immutable

NOW = 1_700_000_000
USER = 3
SECOND = "20990101T000000Z"


@pytest.fixture
def built(movie_release: Built, copy_warehouse: Callable[[Built], Built]) -> Built:
    """A release, and ratings of two users that came in online, the first ones archived."""
    built = copy_warehouse(movie_release)
    rate(built.warehouse, USER, 5)
    archive_online(built.warehouse)
    rate(built.warehouse, USER, 4)
    return built


def rate(warehouse: Warehouse, user: int, n: int) -> None:
    with closing(overlay.create(warehouse.overlay)) as connection:
        for item in range(1, n + 1):
            for one in (user, user + 1):
                overlay.append(connection, Entry(0, one, item, 4.0, 1.0, NOW + item, NOW))


def test_the_certificate_says_what_went_and_what_still_names_the_user(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse = built.warehouse
    assert main(["forget", str(USER), "--warehouse", str(warehouse.folder)]) == 0
    shown = capsys.readouterr().out
    certificate = json.loads(shown[shown.index("{\n") : shown.rindex("}\n{") + 2])
    path, kept = erasure.read(warehouse, str(USER))
    assert certificate == kept and str(path) in shown
    assert [(one["place"], one["rows"]) for one in kept["removed"]] == [("overlay.db", 9), ("raw/online/part-000000000000010.parquet", 5)]
    places = {one["place"]: one for one in kept["still_named_in"]}
    assert f"releases/{built.release_id}/cinematch.db ratings" in places and kept["closed_at"] is None and kept["not_looked_into"] == []
    assert all("promote a new release" in one["until"] for one in places.values())
    assert kept["sources"]["files"] == [file["name"] for file in built.manifest.input["files"]]
    assert (
        kept["user"] == "sha256:" + forgotten.digest(forgotten.read(warehouse.forgotten).salt, USER)
        and kept["forgotten_at"] == kept["checked_at"]
    )
    forget(warehouse, str(USER))
    again = erasure.read(warehouse, str(USER))[1]
    assert (
        again["removed"] == kept["removed"]
        and again["still_named_in"] == kept["still_named_in"]
        and again["forgotten_at"] == kept["forgotten_at"]
    )


def test_no_certificate_names_its_user_and_a_dry_run_makes_none(copy_warehouse: Callable[[Built], Built], purchase_release: Built) -> None:
    built = copy_warehouse(purchase_release)
    user = "São Paulo/Centro #13"
    forget(built.warehouse, user, is_dry_run=True)
    assert not built.warehouse.erasures.exists()
    forget(built.warehouse, user)
    (path,) = built.warehouse.erasures.iterdir()
    assert user not in path.read_text() and user not in json.dumps(json.loads(path.read_text()), ensure_ascii=False)


def test_the_audit_goes_on_until_nothing_names_the_user_and_then_closes(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse, settings = built.warehouse, small_settings(built.warehouse.folder)
    backup = warehouse.folder / "backup.cinematch.zip"
    archive.write(warehouse, built.release_id, backup)
    forget(warehouse, str(USER))
    at = datetime.fromisoformat(built.manifest.created_at)

    def asked(days: float):
        found = {finding.question: finding for finding in audit(warehouse, settings, now=max(at, datetime.now(UTC)) + timedelta(days=days))}
        return found["open_erasures"], erasure.read(warehouse, str(USER))[1]

    finding, certificate = asked(1)
    assert (finding.level, finding.value) == ("ok", 1) and certificate["closed_at"] is None
    places = {one["place"] for one in certificate["still_named_in"]}
    assert "backup.cinematch.zip tables/ratings.parquet" in places and f"releases/{built.release_id}/tables/users.parquet" in places
    assert asked(32)[0].level == "warning", "a month is over"
    backup.unlink()
    without(built, SECOND)
    promote(warehouse, SECOND, reason="without the user")
    assert main(["releases", "prune", "--forgotten", "--warehouse", str(warehouse.folder)]) == 0
    finding, certificate = asked(33)
    assert (
        (finding.level, finding.value) == ("ok", 0)
        and certificate["closed_at"] == certificate["checked_at"]
        and certificate["still_named_in"] == []
    )
    (warehouse.folder / "new.csv").write_text(f"user_id,item_id\n{USER},1\n")
    assert asked(34)[1] == certificate, "a closed one is not asked for again"
    forget(warehouse, str(USER))
    assert [one["place"] for one in erasure.read(warehouse, str(USER))[1]["still_named_in"]] == ["new.csv"]
    next(iter(warehouse.erasures.iterdir())).write_text("{}")
    with pytest.raises(ReleaseError, match="certificate cannot be read"):
        erasure.check(warehouse, at)


def without(built: Built, release_id: str) -> None:
    """Another sealed release, with the same files less the user's rows."""
    staged = built.warehouse.staged(release_id)
    shutil.copytree(built.release.folder, staged.folder)
    for path in [staged.folder, *staged.folder.rglob("*")]:
        path.chmod(0o755)
    staged.manifest.unlink()
    with closing(sqlite3.connect(staged.database, isolation_level=None)) as connection:
        for table in BY_USER:
            connection.execute(f"delete from {table.name} where user_id = ?", [USER])
            rows = parquet.read(staged.table(table.name))
            parquet.write(
                staged.table(table.name), [rows.filter(pc.not_equal(rows["user_id"], USER))], pq.read_schema(staged.table(table.name))
            )
    seal(built.warehouse, staged, replace(built.manifest, release=release_id, files=digests(staged)))


def test_pruning_for_the_forgotten_leaves_the_others_and_the_current_one(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse = built.warehouse
    without(built, SECOND)
    flags = ["--warehouse", str(warehouse.folder)]
    assert main(["releases", "prune", "--forgotten", *flags]) == 0 and "nothing to remove" in capsys.readouterr().out
    forget(warehouse, str(USER))
    assert main(["releases", "prune", "--forgotten", *flags]) == 0
    assert f"kept {built.release_id}: it names forgotten users" in capsys.readouterr().out and len(sealed_ids(warehouse)) == 2
    promote(warehouse, SECOND, reason="without the user")
    assert main(["releases", "prune", "--forgotten", "--dry-run", *flags]) == 0
    assert capsys.readouterr().out == f"would remove {built.release_id}: names forgotten users\n" and len(sealed_ids(warehouse)) == 2
    assert main(["releases", "prune", "--forgotten", SECOND, *flags]) == 2
    assert main(["releases", "prune", "--forgotten", *flags]) == 0 and sealed_ids(warehouse) == [SECOND]


def test_a_user_is_given_all_that_is_held_on_them(built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--warehouse", str(built.warehouse.folder)]
    assert main(["export-user", str(USER), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    release = found["release"]
    with closing(open_immutable(built.release.database)) as connection:
        for table in BY_USER:
            n = connection.execute(f"select count(*) from {table.name} where user_id = ?", [USER]).fetchone()[0]
            assert len(release[table.name]) == n and (n > 0) == (table.name != "user_attributes")  # the sample has no file of users
            assert {row["user_id"] for row in release[table.name]} <= {USER}
        titles = dict(connection.execute("select item_id, title from items").fetchall())
    assert all(row["title"] == titles[row["item_id"]] for row in (*release["ratings"], *release["recommendations"]))
    assert [row["item_id"] for row in release["ready_lists"][0]["rows"]] == [row["item_id"] for row in release["recommendations"]][:10]
    assert len(found["overlay"]) == 9 and len(found["online"]) == 5 and {row["user_id"] for row in found["online"]} == {str(USER)}
    assert release["id"] == built.release_id and release["files"] and {one["place"] for one in found["places"]} >= {"overlay.db ratings"}
    path = tmp_path / "user.json"
    assert main(["export-user", str(USER), "--output", str(path), *flags]) == 0
    assert json.loads(path.read_text())["release"] == release and path.stat().st_mode & 0o777 == 0o600
    assert main(["export-user", str(USER), "--output", str(path), *flags]) == 2


def test_nothing_is_given_out_on_a_forgotten_or_unknown_user(built: Built) -> None:
    with pytest.raises(NotFound, match="nothing in .* names them"):
        export(built.warehouse, "no-such-user")
    forget(built.warehouse, str(USER))
    with pytest.raises(UsageError, match=f"user {USER} was forgotten"):
        export(built.warehouse, str(USER))
    with pytest.raises(UsageError, match="no such warehouse"):
        export(Warehouse(built.warehouse.folder / "elsewhere"), "1")


def test_releases_that_are_too_old_are_pruned_whatever_their_number(built: Built) -> None:
    warehouse, old = built.warehouse, "2020-01-01T00:00:00+00:00"
    names = [add_release(built, f"2099010{day}T000000Z", created_at=old) for day in range(1, 5)]
    for name in names[:3]:
        promote(warehouse, name, reason="newer")
    assert prune(warehouse, keep=5) == {}
    assert prune(warehouse, keep=5, keep_days=36_500) == {}
    assert prune(warehouse, keep=5, keep_days=30) == dict.fromkeys([names[0], names[3]], "older than 30 days")
    assert sealed_ids(warehouse) == [built.release_id, *names[1:3]] and current_id(warehouse) == names[2]
