"""The page of data: what was refused and why, what came in with each release, and what the guard and the audit said of it."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.charts import Line, lines, Point, rows_of
from serving.lookups.data import kind_of, LOOKED_AT, MOST_TEXT, OTHERS, REASONS, refused_rows, SAMPLES
from tests.conftest import Built
from tests.serving.conftest import clone, copied, Server, serving
from tests.serving.test_hostile_release import BAD, with_file
from warehouse import forgotten, journal
from warehouse.forgotten import Forgotten
from warehouse.layout import Warehouse
from warehouse.release import current_id, read_manifest
from warehouse.sqlite import open_immutable

HTML = {"accept": "text/html"}
NOBODY = Forgotten("", frozenset())
PERSON = "Łódź #4"  # of whom two rows were refused


def quarantine(built: Built) -> list[tuple[str, int, str, str]]:
    with closing(open_immutable(built.release.database)) as connection:
        return [tuple(row) for row in connection.execute("select source, line, text, reason from quarantine order by source, line")]


def opened_with(rows: list[tuple[str, int, str, str]]) -> Any:
    """Return as much of an open release as the reasons are read from."""
    connection = sqlite3.connect(":memory:")
    connection.execute("create table quarantine (source text, line integer, text text, reason text)")
    connection.executemany("insert into quarantine values (?, ?, ?, ?)", rows)
    return SimpleNamespace(reader=lambda: connection)


def list_of(folder: Path, *users: int | str) -> Forgotten:
    for user in users:
        forgotten.add(Warehouse(folder), user)
    return forgotten.read(Warehouse(folder).forgotten)


def test_its_rows_are_the_quarantine_by_reason(purchases: Server, purchase_release: Built) -> None:
    refused, answer = quarantine(purchase_release), purchases.get("/data").json()
    assert {row["reason"]: row["n_rows"] for row in answer["rows"]} == Counter(kind_of(reason) for *_, reason in refused)
    assert {row["reason"] for row in answer["rows"]} == {
        "user_id is empty", "weight … is not positive (a cancellation?)", "rated_at … is not a time"
    }  # fmt: skip
    n_read = purchase_release.manifest.rows["read"]
    assert answer["n_read"] == n_read and answer["n_refused"] == len(refused) == purchase_release.manifest.rows["quarantined"]
    assert all(row["share"] == pytest.approx(row["n_rows"] / n_read) for row in answer["rows"])
    shown = {(kind_of(reason), source, line, text) for source, line, text, reason in refused}
    assert {
        (row["reason"], sample["source"], sample["line"], sample["text"]) for row in answer["rows"] for sample in row["samples"]
    } == shown


@pytest.mark.parametrize(("server", "release"), [("movies", "movie_release"), ("purchases", "purchase_release")])
def test_beside_them_are_the_figures_of_the_manifests(server: str, release: str, request: pytest.FixtureRequest) -> None:
    asked, built = request.getfixturevalue(server), request.getfixturevalue(release)
    answer, manifest = asked.get("/data").json(), built.manifest
    row = next(row for row in answer["releases"] if row["release"] == manifest.release)
    assert {name: row[f"n_{name}"] for name in manifest.rows} == manifest.rows
    assert {name: row[f"n_{name}"] for name in ("users", "items", "ratings")} == {
        name: manifest.counts[name] for name in ("users", "items", "ratings")
    }
    assert (row["status"], row["created_at"], row["n_catalogue_quarantined"]) == ("served", manifest.created_at, 0)
    guard, kept = answer["guard"], manifest.verdict["data"]
    assert {name: guard[name] for name in ("against", "note", "is_accepted", "changes")} == {
        name: kept[name] for name in ("against", "note", "is_accepted", "changes")
    }
    assert {figure["figure"]: figure["now"] for figure in guard["figures"]} == kept["profile"]


def test_nothing_is_refused_of_what_is_all_good(movies: Server) -> None:
    answer, page = movies.get("/data").json(), movies.get("/data", headers=HTML).text
    assert answer["rows"] == [] and answer["n_refused"] == 0 and answer["audit"] == answer["changes_since"] == []
    assert "Nothing was refused." in page and "none was refused" in page and "<svg" in page


def test_the_page_shows_reasons_shares_and_rows_and_is_linked(purchases: Server, purchase_release: Built) -> None:
    page = purchases.get("/data", headers=HTML).text
    assert "weight … is not positive (a cancellation?)" in page and "not a time" in page and "<script>" not in page
    assert f"Of {purchase_release.manifest.rows['read']:,} rows read, 3 were refused" in page
    release = purchase_release.release_id
    for path, link in (("/", "/data"), ("/quality", "/data"), (f"/releases/{release}", f"/data?release={release}")):
        assert f'href="{link}"' in purchases.get(path, headers=HTML).text, path


def test_releases_changes_and_the_audit_are_shown_and_no_markup_of_them(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    old = current_id(warehouse)
    profile = read_manifest(warehouse.sealed(old)).verdict["data"]["profile"]
    change = {"figure": "rows <gone>", "before": 0.0, "now": 0.25, "limit": 0.1, "message": "a <b>quarter</b> is gone"}
    said = {"profile": profile, "before": profile | {"n_users": 7}, "against": old, "changes": [change], "note": "", "is_accepted": True}
    rows = {"read": 1000, "accepted": 700, "duplicates": 100, "quarantined": 200}
    clone(warehouse, old, "20990101T000000Z", verdict={"data": said}, rows=rows, created_at="2099-01-01T00:00:00+00:00")
    warehouse.current.write_text("20990101T000000Z\n")
    finding = {"at": "2099-01-02T00:00:00+00:00", "release": "20990101T000000Z", "level": "warning", "value": 9, "limit": 8}
    journal.append(
        warehouse.findings,
        finding | {"question": "age_days", "message": "of before", "at": "2099-01-01T12:00:00+00:00"},
        finding | {"question": "age_days", "message": "old <i>data</i>"},
        finding | {"question": "damaged_files", "level": "ok", "message": "whole", "value": float("nan")},
        finding | {"question": "data_users_gone", "release": "20990103T000000Z", "message": "users are <u>gone</u>"},
        {"question": ["no", "text"]},
    )
    with serving(folder) as server:
        answer, page = server.get("/data").json(), server.get("/data", headers=HTML).text
    assert [row["release"] for row in answer["releases"]] == [old, "20990101T000000Z"]
    assert [row["n_quarantined"] for row in answer["releases"]] == [0, 200]
    assert answer["guard"]["changes"] == [change] and answer["guard"]["is_accepted"] and answer["n_read"] == 1000
    assert {"figure": "n_users", "before": 7, "now": profile["n_users"]} in answer["guard"]["figures"]
    assert [(row["question"], row["level"], row["value"]) for row in answer["audit"]] == [
        ("age_days", "warning", 9), ("damaged_files", "ok", None)
    ]  # fmt: skip
    assert [row["release"] for row in answer["changes_since"]] == ["20990103T000000Z"]
    for text in (
        "rows &lt;gone&gt;",
        "a &lt;b&gt;quarter&lt;/b&gt; is gone",
        "old &lt;i&gt;data&lt;/i&gt;",
        "users are &lt;u&gt;gone&lt;/u&gt;",
    ):
        assert text in page, text
    assert not re.search("<(gone|b>quarter|i>data|u>gone)", page) and "of before" not in page


def test_every_check_has_its_rows_of_every_release_that_kept_them(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    old = current_id(warehouse)
    rows = read_manifest(warehouse.sealed(old)).check_rows
    spoilt = {"name": "a <b>bold</b> check", "table_name": "items", "severity": "warning", "n_rows": 1234, "sample": "[]"}
    kept = {"n_checks": 2, "n_failed": 0, "rows": [*rows[1:], spoilt]}
    clone(warehouse, old, "20990101T000000Z", checks=kept, created_at="2099-01-01T00:00:00+00:00")
    clone(warehouse, old, "20990102T000000Z", checks={"n_checks": 2, "n_failed": 0})  # as before they were kept
    finding = {"at": "2099-01-03T00:00:00+00:00", "release": "20990103T000000Z", "level": "error", "value": 7, "limit": 0}
    journal.append(
        warehouse.findings,
        finding | {"question": "seal_check", "message": "a list holds an <i>item</i> once"},
        finding | {"question": "seal_check", "release": old, "message": "it was built again"},
    )
    with serving(folder) as server:
        answer, page = server.get("/data").json(), server.get("/data", headers=HTML).text
        shown = server.get("/releases/20990101T000000Z", headers=HTML).text
    found = {check["check"]: {row["release"]: row["n_rows"] for row in check["releases"]} for check in answer["checks"]}
    assert found[rows[0]["name"]] == {old: rows[0]["n_rows"]} and found[spoilt["name"]] == {"20990101T000000Z": 1234}
    assert all(found[row["name"]] == {old: row["n_rows"], "20990101T000000Z": row["n_rows"]} for row in rows[1:])
    assert all(check["n_rows"] == sum(found[check["check"]].values()) for check in answer["checks"])
    assert [entry["release"] for entry in answer["not_sealed"]] == ["20990103T000000Z", old] and answer["audit"] == []
    assert 'data-label="2099-01-01">1,234</td>' in page and "a &lt;b&gt;bold&lt;/b&gt; check" in page
    assert "an &lt;i&gt;item&lt;/i&gt; once" in page and "<i>item" not in page and "<b>bold" not in page + shown
    assert "2 checks, of which" in shown and "a &lt;b&gt;bold&lt;/b&gt; check (warning, 1,234 of items)" in shown


def test_markup_in_a_refused_row_is_text(purchase_release: Built, tmp_path: Path) -> None:
    folder = copied(purchase_release, tmp_path / "own")
    changed = "update quarantine set text = '<script>alert(1)</script>', reason = 'is <b>bold</b>' where reason like 'user_id%'"

    def write(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(changed)

    with_file(Warehouse(folder), "cinematch.db", write)
    Warehouse(folder).current.write_text(f"{BAD}\n")
    with serving(folder) as server:
        page = server.get("/data", headers=HTML).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "is &lt;b&gt;bold&lt;/b&gt;" in page and "<script>" not in page


def test_rows_of_a_forgotten_user_are_counted_and_not_shown(purchase_release: Built, tmp_path: Path) -> None:
    folder = copied(purchase_release, tmp_path / "own")
    with serving(folder) as server:
        before = server.get("/data").json()
        assert sum(PERSON in sample["text"] for row in before["rows"] for sample in row["samples"]) == 2
        forgotten.add(Warehouse(folder), PERSON)
        after, page = server.get("/data"), server.get("/data", headers=HTML).text
        assert PERSON not in after.text and PERSON not in page and "somebody who is forgotten" in page
        counts = [{row["reason"]: row["n_rows"] for row in answer["rows"]} for answer in (before, after.json())]
        assert counts[0] == counts[1]
        assert [len(row["samples"]) for row in after.json()["rows"] if row["reason"] == "user_id is empty"] == [1]


@pytest.mark.parametrize("text", [
    "{0},a,1", "a,{0},1", '"{0}",a,1', "a::{0}::1", "a\t{0}", "a; {0} ;1", "{{\"user\": \"{0}\", \"item\": 5}}", "it is {0}, or so", "  '{0}'  ", "a b {0}",
    "[{0}]", "user={0}&item=5", "{0}", "x\"{0}", "a\\u0020b", "Z\\xfc,1",
])  # fmt: skip
@pytest.mark.parametrize("user", [14527, "Łódź #4", 'naïve "quoted" #9', "Doe, Jane", "a+b=c?", "100%", "-5"])
def test_a_row_that_may_name_a_forgotten_user_is_no_sample(user: int | str, text: str, tmp_path: Path) -> None:
    forms = [text.format(user), text.format(str(user).replace('"', '""')), text.format(str(user).replace('"', '\\"'))]
    rows = [("file", line, form, "is bad") for line, form in enumerate(forms, 1)]
    (row,) = refused_rows(opened_with([*rows, ("file", 9, "somebody else", "is bad")]), list_of(tmp_path, user))
    assert row["n_rows"] == 4 and [sample["line"] for sample in row["samples"]] == [9]
    assert len(refused_rows(opened_with(rows), NOBODY)[0]["samples"]) == SAMPLES


def test_numbers_are_users_however_they_are_written_and_what_is_too_long_to_search_is_not_shown(tmp_path: Path) -> None:
    known = list_of(tmp_path, 7)
    for text in ("7", "007,1", "7.0,1", "+7,1", "x" * (MOST_TEXT + 1)):
        assert refused_rows(opened_with([("file", 1, text, "is bad")]), known)[0]["samples"] == [], text[:20]
    assert refused_rows(opened_with([("file", 1, "77,17", "is bad")]), known)[0]["samples"]


def test_few_rows_are_samples_long_ones_are_cut_and_reasons_end_somewhere(tmp_path: Path) -> None:
    rows = [("file", line, "y" * 5_000, "is bad") for line in range(1, 9)] + [("file", 9, "1", "is worse")]
    bad, worse = refused_rows(opened_with(rows), NOBODY)
    assert (bad["n_rows"], [sample["line"] for sample in bad["samples"]], worse["n_rows"]) == (8, [1, 2, 3], 1)
    assert all(len(sample["text"]) < 400 and sample["text"].endswith("…") for sample in bad["samples"])
    known = list_of(tmp_path, 7)
    named = [("file", line, "7,1", "is bad") for line in range(LOOKED_AT)] + [("file", LOOKED_AT, "8,1", "is bad")]
    assert refused_rows(opened_with(named), known) == [{"reason": "is bad", "n_rows": LOOKED_AT + 1, "share": 0.0, "samples": []}]
    many = refused_rows(opened_with([("file", n, "", f"reason {n} of many") for n in range(REASONS + 50)]), NOBODY)
    assert len(many) == REASONS + 1 and many[0]["reason"] == OTHERS and many[0]["n_rows"] == 50


@pytest.mark.parametrize(("reason", "kind"), [
    ("weight -12 is not positive (a cancellation?)", "weight … is not positive (a cancellation?)"),
    ("rating 7 is off the scale 0.5 to 5", "rating … is off the scale 0.5 to 5"),
    ("user_id 'Doe is not here, Jane' is not a whole number", "user_id … is not a whole number"),
    ("user_id 'two\nlines' is not a whole number", "user_id … is not a whole number"),
    ("rated_at 2099-01-01 is after 2026-01-01 (in the future)", "rated_at … is after 2026-01-01 (in the future)"),
    ("rated_at 1900-01-01 is before 1970-01-01", "rated_at … is before 1970-01-01"),
    ("user_id 9223372036854775808 is larger than 9223372036854775807", "user_id … is larger than 9223372036854775807"),
    ("item_id a b is already on line 17", "item_id … is already on line …"),
    ("expected 4 fields, got 12", "expected 4 fields, got …"),
    ("is no JSON: Expecting value at character 12", "is no JSON: Expecting value at character …"),
    *[(same, same) for same in ("user_id is empty", "user_id is not UTF-8", "rating is NaN", "tag is empty", "a quote is not closed",
                                "a carriage return inside the line")],
])  # fmt: skip
def test_reasons_that_differ_in_their_values_alone_are_one(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def test_lines_of_the_chart_are_told_apart_by_their_names() -> None:
    drawn = rows_of(
        [{"n_accepted": 3_000_000, "n_duplicates": 5, "n_quarantined": 0}, {"n_accepted": 4_000_000, "n_duplicates": 5, "n_quarantined": 1}]
    )
    assert [(line.name, [point.value for point in line.points], line.is_main) for line in drawn] == [
        ("accepted", [3_000_000, 4_000_000], True), ("duplicates", [5, 5], False), ("refused", [0, 1], False)
    ]  # fmt: skip
    made = str(lines(drawn, ["a", "b"], "rows", is_named=True))
    assert all(f">{line.name}</text>" in made for line in drawn) and ">4 M</text>" in made
    assert "</text>" in lines([Line("<x>", [Point(0, 1.0)])], ["a"], "one", is_named=True) and "<x>" not in made
