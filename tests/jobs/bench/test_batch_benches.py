"""bench topn, als and scale, small but whole: real steps, real peers, and nothing left of them."""

from __future__ import annotations

import pytest

from jobs.bench import scale
from jobs.staging.record import STEPS


def test_topn_measures_three_sides_on_the_same_factors(bench) -> None:
    running = bench("topn", "--users", "600", "--items", "800", "--n", "10", "--repeats", "1")
    found = running.figures()
    assert (found["n_users"], found["n_items"], found["n"]) == (600, 800, 10)
    assert found["ours_to_spark_ratio"] == pytest.approx(found["ours_users_per_s"] / found["spark_users_per_s"], rel=0.01, abs=0.01)
    assert found["implicit_to_ours_ratio"] == pytest.approx(found["implicit_users_per_s"] / found["ours_users_per_s"], rel=0.02, abs=0.02)
    assert running.left_running() == [] and running.left_behind() == []


@pytest.mark.parametrize("alpha", [2, 0])
def test_als_reaches_the_objective_of_mllib(bench, alpha: int) -> None:
    running = bench("als", "--ratings", "30000", "--factors", "8", "--iterations", "6", "--alpha", str(alpha))
    found = running.figures()
    assert (found["n_ratings"], found["n_factors"], found["is_implicit"]) == (30_000, 8, alpha > 0)
    assert found["objective_ratio"] == pytest.approx(1, abs=0.02)
    assert found["fold_in_s"] > 0 and found["mllib_s"] > 0 and ("implicit_s" in found) == (alpha > 0)
    assert running.left_running() == [] and running.left_behind() == []


def test_scale_measures_every_step_of_a_release(bench) -> None:
    running = bench("scale", "--ratings", "7500", "--served", "0")
    found = running.figures()
    assert found["n_read"] == found["n_accepted"] == 7500 and found["n_models"] >= 8
    assert found["n_recommendations"] == 50 * found["n_users"] and found["n_same_lists"] == found["n_parity_users"] > 0
    for step in STEPS:
        assert found[f"{step}_s"] > 0
    assert found["steps_s"] == pytest.approx(sum(found[f"{step}_s"] for step in STEPS), abs=0.1)
    assert found["peak_mib"] > 0 and found["recommendations_row_bytes"] > 20
    assert running.left_running() == [] and running.left_behind() == []


def test_scale_stops_after_the_steps_that_are_asked_for(bench) -> None:
    running = bench("scale", "--ratings", "7500", "--steps", "1")
    found = running.figures()
    assert found["n_accepted"] == 7500 and found["steps_s"] == round(found["ingest_s"], 1) > 0
    assert not {"train_s", "release_mib", "lookup_per_s"} & set(found)
    assert running.left_running() == [] and running.left_behind() == []


def test_a_release_is_served_as_fast_as_itself(movie_release, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SECONDS", 0.2)
    found = scale.served_figures(movie_release.warehouse, movie_release.warehouse, tmp_path)
    assert found["start_to_first_answer_s"] > 0 and found["resident_idle_mib"] > 0
    assert found["lookup_to_small_ratio"] == pytest.approx(found["lookup_per_s"] / found["small_lookup_per_s"], abs=1e-3)
