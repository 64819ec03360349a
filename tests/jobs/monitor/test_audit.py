"""The audit: what it finds in a release that is whole, damaged or old, and in ratings that are like it or not."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from jobs.cli import main
from jobs.monitor.audit import audit
from jobs.monitor.findings import newly_wrong
from tests.conftest import Built, small_settings
from tests.jobs.ingest.test_overlay_archive import rating, write
from warehouse import catalog, journal
from warehouse.findings import Finding
from warehouse.sqlite import open_immutable

N = 400


@pytest.fixture
def copied(copy_warehouse: Callable[[Built], Built], movie_release: Built) -> Built:
    return copy_warehouse(movie_release)


def asked(built: Built, *, days: float = 1.0, **settings: object) -> dict[str, Finding]:
    """The findings of an audit some days after the release was built."""
    now = datetime.fromisoformat(built.manifest.created_at) + timedelta(days=days)
    return {finding.question: finding for finding in audit(built.warehouse, small_settings(built.warehouse.folder, **settings), now=now)}


def rows(built: Built, query: str) -> list[tuple]:
    with closing(open_immutable(built.release.database)) as connection:
        return [tuple(row) for row in connection.execute(query)]


def arrive(built: Built, pairs: list[tuple], at_days: float = 0.5) -> None:
    """Ratings (user, item, stars) that came in online after the release was built."""
    at = int((datetime.fromisoformat(built.manifest.created_at) + timedelta(days=at_days)).timestamp())
    write(built.warehouse, [rating(user, item, stars, at) for user, item, stars in pairs])


def alike(built: Built, n: int = N) -> list[tuple]:
    """Ratings like the release's own: those of others, under users who do not have them."""
    draw = random.Random(3)
    users = [row[0] for row in rows(built, "select user_id from users")]
    return [(draw.choice(users), item, stars) for item, stars in draw.sample(rows(built, "select item_id, rating from ratings"), n)]


def wrong(found: dict[str, Finding]) -> dict[str, str]:
    return {question: finding.level for question, finding in found.items() if finding.level != "ok"}


def test_a_new_release_without_online_ratings_has_nothing_wrong(copied: Built) -> None:
    found = asked(copied)
    assert wrong(found) == {} and found["damaged_files"].value == found["failed_checks"].value == 0
    assert found["age_days"].value == 1 and "too few to compare" in found["incoming"].message


def test_an_old_release_is_a_finding(copied: Built) -> None:
    assert wrong(asked(copied, days=8.5)) == {"age_days": "warning"}
    assert wrong(asked(copied, days=8.5, stale_after_days=9)) == {}


def test_online_ratings_that_cannot_be_read_are_an_error(copied: Built) -> None:
    copied.warehouse.overlay.write_bytes(b"no database " * 1_000)
    assert wrong(asked(copied)) == {"overlay_rows": "error"}


def test_a_changed_byte_is_an_error_whatever_it_breaks(copied: Built) -> None:
    path = copied.release.table("explanations")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = asked(copied)
    assert wrong(found) == {"damaged_files": "error"} and found["damaged_files"].message == "tables/explanations.parquet changed"


def test_a_torn_database_is_an_error_and_no_crash(copied: Built) -> None:
    arrive(copied, alike(copied))
    copied.release.database.chmod(0o644)
    copied.release.database.write_bytes(copied.release.database.read_bytes()[:8192])
    assert wrong(asked(copied)) == {"damaged_files": "error", "failed_checks": "error", "incoming": "error"}


def test_ratings_like_the_releases_own_have_not_drifted(copied: Built) -> None:
    arrive(copied, alike(copied))
    found = asked(copied, audit_volume_ratio=1000, audit_quality_ratio=0)
    assert wrong(found) == {}
    assert found["rating_psi"].value < 0.1 and found["genre_psi"].value < 0.1
    assert found["unknown_users"].value == found["unknown_items"].value == 0


def test_each_kind_of_drift_is_found_for_what_it_is(copied: Built) -> None:
    """Everybody gives the lowest rating to films of one genre; half of the users and items are new."""
    genre = rows(copied, "select genre from item_genres group by genre order by count(*), genre limit 1")[0][0]
    rare = [row[0] for row in rows(copied, f"select item_id from item_genres where genre = '{genre}'")]
    users = [row[0] for row in rows(copied, "select user_id from users")]
    pairs = [(users[i % len(users)], rare[i % len(rare)], 0.5) for i in range(N)]
    arrive(copied, pairs + [(10**6 + i, 10**6 + i, 0.5) for i in range(N)])
    found = asked(copied, audit_unknown=0.4, audit_volume_ratio=1.5, audit_quality_ratio=0)
    expected = ("rating_psi", "genre_psi", "unknown_users", "unknown_items", "volume_ratio")
    assert wrong(found) == dict.fromkeys(expected, "warning")
    assert found["unknown_users"].value == found["unknown_items"].value == 0.5


def test_the_volume_is_a_days_ratings_over_a_days_of_the_release(copied: Built) -> None:
    latest = rows(copied, "select max(rated_at) from ratings")[0][0]
    before = rows(copied, f"select count(*) from ratings where rated_at > {latest - 28 * 86400}")[0][0] / 28
    arrive(copied, alike(copied), at_days=0.0)
    assert asked(copied, days=2)["volume_ratio"].value == pytest.approx(N / 2 / before, rel=1e-4)


def test_online_quality_is_where_new_items_stood_in_the_lists(copied: Built) -> None:
    """Half of the users rate the first of their list, the other half the last: recall 0.5 at a depth between."""
    depth = 20
    tops = rows(copied, "select user_id, item_id from recommendations where rank = 1 and source = 'hybrid' limit 150")
    seen = {row for row in rows(copied, "select user_id, item_id from ratings")} | {
        row for row in rows(copied, "select user_id, item_id from recommendations")
    }
    items = [row[0] for row in rows(copied, "select item_id from items")]
    outside = [(user, next(item for item in items if (user, item) not in seen), 4.0) for user, _ in tops]
    arrive(
        copied,
        [(user, item, 5.0) for user, item in tops]
        + outside
        + [(user, item, 3.0) for user, item in rows(copied, "select user_id, item_id from ratings limit 50")],
    )
    found = asked(copied, audit_quality_ratio=0.0)
    assert found["online_recall_at_20"].value == 0.5 and found["online_mrr"].value == 0.5
    assert f"of {2 * len(tops)} newly rated items in their user's first {depth}" in found["online_recall_at_20"].message
    promised = next(row["value"] for row in copied.manifest.metrics if (row["model"], row["metric"]) == ("hybrid", "recall"))
    assert asked(copied, audit_quality_ratio=0.6 / promised)["online_recall_at_20"].level == "warning"


def test_a_large_overlay_is_a_finding(copied: Built) -> None:
    arrive(copied, alike(copied, 30))
    assert wrong(asked(copied, audit_overlay_rows=29)) == {"overlay_rows": "warning"}


def test_findings_are_rows_of_the_catalogue_and_outlive_it(copied: Built) -> None:
    asked(copied)
    asked(copied, days=9)
    copied.warehouse.catalog.unlink()
    catalog.rebuild(copied.warehouse)
    with closing(sqlite3.connect(copied.warehouse.catalog)) as connection:
        found = connection.execute(
            "select release, question, level, value from findings where question = 'age_days' order by position"
        ).fetchall()
    assert found == [(copied.release_id, "age_days", "ok", 1.0), (copied.release_id, "age_days", "warning", 9.0)]


def test_a_line_that_a_crash_cut_short_is_left_out(copied: Built) -> None:
    asked(copied)
    n = len(journal.read(copied.warehouse.findings))
    with copied.warehouse.findings.open("ab") as file:
        file.write(b'{"at": "2026')
    asked(copied)
    assert len(journal.read(copied.warehouse.findings)) == 2 * n


def test_only_what_is_newly_wrong_is_told_but_damage_always(copied: Built) -> None:
    first = list(asked(copied, days=9).values())
    before = journal.read(copied.warehouse.findings)
    assert [finding.question for finding in newly_wrong(first, [])] == ["age_days"] and newly_wrong(first, before) == []
    damaged = [Finding("", copied.release_id, "damaged_files", "error", 1, 0, "")]
    before.append({"release": copied.release_id, "question": "damaged_files", "level": "error"})
    assert newly_wrong(damaged, before) == damaged


def test_the_command_shows_tells_and_fails_for_damage_alone(
    copied: Built, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    command = ["audit", "--warehouse", str(copied.warehouse.folder), "--stale-after-days", "0"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["command"], figures["release"], figures["n_warning"], figures["n_error"]) == ("audit", copied.release_id, 1, 0)
    assert f"alert: audit: release {copied.release_id}: age_days" in caplog.text
    caplog.clear()
    assert main(command) == 0 and "alert:" not in caplog.text
    copied.release.table("popular").chmod(0o644)
    copied.release.table("popular").write_bytes(b"")
    assert main(command) == 5
    assert "alert: audit:" in caplog.text and "damaged_files: tables/popular.parquet changed; roll back" in capsys.readouterr().err


def test_no_promoted_release_is_told_too(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["audit", "--warehouse", str(tmp_path)]) == 6
    assert "alert: audit: the promoted release cannot be read" in caplog.text
