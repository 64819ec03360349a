"""The plan gives back what was measured, says what breaks, and the README's table and plot are those of the records."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from jobs.bench import growth, plan
from jobs.machine.needs import MIB, model_need, step_need
from jobs.staging.record import STEPS
from schemas.models import MODELS
from schemas.settings import Settings

RECORDS = growth.whole_scales()
IDS = [str(record["n_accepted"]) for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_the_plan_is_within_a_third_of_what_was_measured(record: dict) -> None:
    found = plan.step_seconds(plan.counts_of(record), plan.prices(RECORDS[-1]), record["n_processors"])
    measured = {step: record[f"{step}_s"] for step in found}
    assert sum(found.values()) == pytest.approx(sum(measured.values()), rel=0.3)


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_estimates_of_memory_are_above_the_measured_peaks_and_below_twice_that(record: dict) -> None:
    counts, settings = plan.counts_of(record), Settings(als_factors=64, spark_master=f"local[{record['n_processors']}]")
    needs = {step: step_need(step, counts, settings).memory / MIB for step in STEPS if step != "promote"}
    trained = [name.removesuffix("_train_s") for name in record if name.endswith("_train_s")]
    needs["train"] = max(needs["train"], *(model_need(MODELS[model], counts, settings).memory / MIB for model in trained))
    for step, need in needs.items():
        assert record[f"{step}_peak_mib"] <= need <= max(2 * record[f"{step}_peak_mib"], 1_500), step


def test_twice_the_cores_take_less_and_twice_the_ratings_more() -> None:
    price, counts = plan.prices(RECORDS[-1]), plan.counts_of(RECORDS[-1])
    two, four = (plan.step_seconds(counts, price, cores) for cores in (2, 4))
    more = plan.step_seconds(counts._replace(n_ratings=2 * counts.n_ratings), price, 2)
    for step in two:
        assert two[step] / 2 < four[step] <= two[step] <= more[step]


def test_what_was_measured_breaks_nothing_and_ten_billion_ratings_do(capsys: pytest.CaptureFixture[str]) -> None:
    small = plan.measure(Settings(), users=200_948, items=87_585, ratings=32_000_204, cores=2)
    assert small["n_shards"] == 1 and "breaks: nothing" in capsys.readouterr().err
    large = plan.measure(Settings(), users=100_000_000, items=10_000_000, ratings=10**10, cores=1000)
    said = capsys.readouterr().err
    for what in ("item_neighbours", "ALS by fold-in", "SQLite file", "sealing"):
        assert f"breaks: {what}" in said or what in said.split("breaks:", 1)[1]
    assert large["n_shards"] > 1 and large["core_hours"] > 100 * small["core_hours"]


def test_the_plot_is_an_image_of_every_step_and_size() -> None:
    drawn = growth.growth_plot()
    assert drawn == growth.PLOT.read_text(encoding="utf-8"), "run `python -m jobs.bench.readme`"
    root = ET.fromstring(drawn)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    n_points = [len(growth.comparable(step)) for step in growth.SHOWN]
    assert min(n_points) >= len(RECORDS)
    assert [len(line.attrib["points"].split()) for line in lines] == [*n_points, len(RECORDS)]


def test_a_record_of_some_steps_and_models_has_no_sum_and_no_point_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RECORDS[-1]
    some = {name: value for name, value in whole.items() if not name.startswith("seal")} | {"n_accepted": 100_000_000, "n_models": 2}
    monkeypatch.setattr(growth, "scales", lambda: [whole, some])
    assert growth.whole_scales() == [whole]
    rows = {line.split(" | ")[0]: line.split(" | ")[-1].strip(" |") for line in growth.scale_table().splitlines()}
    assert rows["| `recommend`, s; peak MiB"] and not rows["| `seal`, s; peak MiB"] and not rows["| all steps, s"]
    lines = ET.fromstring(growth.growth_plot()).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 1, 1, 2, 1, 1]
