"""The routes about releases: what became of each, and the names that stand for ids."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path

from tests.serving.conftest import clone
from tests.serving.inside import inside
from warehouse.layout import Warehouse
from warehouse.promotion import promote, rollback
from warehouse.release import current_id

HTML = {b"accept": b"text/html"}


def test_what_became_of_each_release_is_told_apart(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    verdict = {"decision": "hold back", "reason": "it lost too many users", "champion": first}
    second, third, held, sealed = (
        clone(warehouse, first, f"2099010{n}T000000Z", **changed)
        for n, changed in enumerate(({}, {}, {"verdict": verdict}, {"verdict": {}}), 1)
    )
    promote(warehouse, second, reason="better")
    promote(warehouse, third, reason="a mistake")
    rollback(warehouse, reason="lists were empty <b>")
    with inside(folder, key) as asked:
        rows = {row["release"]: row for row in asked.rows(b"/releases")}
        assert {name: row["status"] for name, row in rows.items()} == {
            first: "promoted",
            second: "served",
            third: "rolled back",
            held: "held back",
            sealed: "sealed",
        }
        assert (
            rows[third]["rolled_back_reason"] and "lists were empty" in rows[third]["rolled_back_reason"] and rows[third]["rolled_back_at"]
        )
        assert rows[held]["promoted_at"] is None and rows[held]["rolled_back_reason"] is None
        page = asked.ask("GET", b"/releases", headers=HTML).body.decode()
        for shown in ("rolled back", "held back", ">promoted<", ">current<", ">sealed<", html.escape("lists were empty <b>")):
            assert shown in page, shown
        assert b"Rolled back" in asked.ask("GET", f"/releases/{third}".encode(), headers=HTML).body
        (row,) = asked.rows(b"/releases/current")
        assert row["release"] == second and asked.rows(b"/releases/latest")[0]["release"] == sealed
        compared = asked.ask("GET", b"/releases/compare?a=current&b=latest").json()
        assert (compared["a"], compared["b"]) == (second, sealed)
        assert asked.ask("GET", b"/releases/compare?a=current&b=nowhere").status == 404
        warehouse.promotions.write_text("[]\nnonsense\n{}\n")
        assert asked.ask("GET", b"/releases").status == 200, "a damaged journal hides no release"


def test_numbers_are_written_out_on_the_compare_page(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    first = current_id(warehouse)
    manifest = json.loads(warehouse.sealed(first).manifest.read_text(encoding="utf-8"))
    counts = manifest["counts"] | {"recommendations": 1_000_210}
    large = clone(warehouse, first, "20990101T000000Z", counts=counts, steps=[{**manifest["steps"][0], "seconds_s": 1234567.25}])
    with inside(folder, key) as asked:
        shown = asked.ask("GET", f"/releases/compare?a={first}&b={large}".encode(), headers=HTML).body.decode()
    assert "1,000,210" in shown and "1,234,567.2" in shown and "e+0" not in shown
