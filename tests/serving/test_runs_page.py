"""The page of runs: what is being built, as staging says, and the steps of the sealed releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.run import run_step
from tests.conftest import Built, small_settings
from tests.serving.inside import inside
from warehouse.layout import Warehouse
from warehouse.release import current_id
from warehouse.under_way import under_way

Own = Callable[..., tuple[Path, str]]


def test_a_release_that_is_being_built_stands_first_with_what_is_done(own_movies: Own, movie_release: Built) -> None:
    folder, key = own_movies()
    warehouse = Warehouse(folder)
    same = {name: movie_release.manifest.settings[name] for name in ("source", "scale", "seed")}
    with inside(folder, key) as server:
        (before,) = server.rows(b"/runs")
        figures = run_step("ingest", warehouse, "20990101T000000Z", small_settings(folder, **same))
        new, old = server.rows(b"/runs")
        assert (new["release"], new["status"], new["step"]) == ("20990101T000000Z", "under way", "train") and old == before
        (step,) = new["steps"]
        assert step["step"] == "ingest" and new["seconds_s"] == step["seconds_s"] and new["since"] == step["ended_at"]
        assert step["peak_mib"] == figures["peak_mib"] > 0
        page = server.ask("GET", b"/runs", headers={b"accept": b"text/html"}).body.decode()
        assert "1 release is being built" in page and "<b>train</b>" in page and current_id(warehouse) in page
    assert before["status"] == "served" and [step["step"] for step in before["steps"]] == [
        "ingest",
        "train",
        "evaluate",
        "recommend",
        "seal",
    ]


def test_what_is_cut_or_foreign_in_staging_is_no_fault(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    assert under_way(warehouse) == []
    for name in ("20990101T000000Z", "20990102T000000Z"):
        (warehouse.staged(name).work / "steps").mkdir(parents=True)
    warehouse.staged("20990101T000000Z").folder.mkdir()
    (warehouse.staging / "no id.work").mkdir()
    for step, text in (("ingest", '{"figures": {"seconds_s": 3.5, "peak_mib": 9}}'), ("train-als", '{"figures"'), ("train", "[]")):
        warehouse.staged("20990101T000000Z").step(step).write_text(text)
    (one,) = under_way(warehouse)
    assert (one.release, one.step, [step["step"] for step in one.steps]) == ("20990101T000000Z", "train", ["ingest"])
