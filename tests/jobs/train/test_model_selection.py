"""The model that is served is the best on validation users; a model that cannot be trained fails alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jobs.kernels.histories import Histories
from jobs.models.base.contract import finite, ModelArrays, TrainingData, Validation
from jobs.models.base.judge import Tried
from jobs.models.registry import code_of
from jobs.spark.task_pool import OnSpark, reason_of
from jobs.staging.interactions import Interactions, TYPES
from jobs.train import model_selection
from jobs.train.step import _fit
from schemas.errors import StepError
from schemas.models import Model, MODELS, RANKERS
from schemas.settings import FIELDS, resolve
from tests.jobs.models.worlds import split, training
from warehouse import model_files
from warehouse.layout import Release

N_ITEMS = 60


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path / "release")


def data_for(release: Release, **settings) -> TrainingData:
    """Training data whose item sides lie where a release has them, with the items' own."""
    rows, validation = split(N_ITEMS)
    data = replace(
        training(release.folder, rows, N_ITEMS, validation=validation, ials_factors=8, ials_iterations=4, **settings), sides=release.models
    )
    ids = {"item_ids": np.arange(N_ITEMS), "genre_indices": data.genres.indices, "genre_indptr": data.genres.indptr.astype(np.int64)}
    model_files.save(release.model("items"), ids, {"genres": ["a", "b", "c"]})
    return data


def fitted(release: Release, *models: str, **settings) -> tuple[TrainingData, list[dict]]:
    data = data_for(release, **settings)
    return data, [_fit(MODELS[name], code_of(name), data, release) for name in models]


def test_every_model_that_can_be_served_folds_in_and_attributes() -> None:
    assert set(FIELDS["serve"].metadata["choices"]) == {"auto", *RANKERS} and len(RANKERS) == 5
    assert all(MODELS[name].folds_in and MODELS[name].attributes for name in RANKERS)
    assert [MODELS[name].simplicity for name in RANKERS] == [1, 2, 3, 4, 5]


def test_the_best_on_validation_is_served_and_another_where_one_is_asked_for(release: Release) -> None:
    data, rows = fitted(release, "popular", "item_neighbours", "transitions", "ease", "ials")
    names = model_selection.rankers(release, rows, data.settings)
    assert names == ["item_neighbours", "transitions", "ease", "ials"]
    scores, tried, doubt = model_selection.validated(release, names, data)
    by_model = {row["model"]: row["value"] for row in scores if row["metric"] == "ndcg_liked"}
    assert doubt == "" and by_model.keys() == {*names, "popular"} and len(set(by_model.values())) > 1
    assert all(row["n_users"] == 80 for row in scores if row["metric"] == "ndcg")
    assert all(40 < row["n_users"] <= 80 and row["low"] <= row["value"] <= row["high"] for row in scores)
    assert by_model == {name: pytest.approx(one.value) for name, one in tried.items()}
    assert by_model[model_selection.served(names, tried, data.settings)] == max(by_model.values())
    assert model_selection.served(names, tried, resolve({"serve": "transitions"}, {})) == "transitions"


def test_what_is_liked_chooses_the_model_where_there_are_ratings_and_everything_where_that_is_asked_for(release: Release) -> None:
    data, _ = fitted(release, "popular", "item_neighbours", "ease")
    scores, tried, _ = model_selection.validated(release, ["item_neighbours", "ease"], data)
    assert [(row["model"], row["metric"]) for row in scores] == [
        (model, metric) for model in ("item_neighbours", "ease", "popular") for metric in ("ndcg", "ndcg_liked")
    ]
    all_rows = replace(data, settings=replace(data.settings, relevance="all"))
    rows_of_all, tried_on_all, _ = model_selection.validated(release, ["item_neighbours", "ease"], all_rows)
    assert rows_of_all == [row for row in scores if row["metric"] == "ndcg"]
    for values, metric in ((tried, "ndcg_liked"), (tried_on_all, "ndcg")):
        means = {row["model"]: row["value"] for row in scores if row["metric"] == metric}
        assert means == {name: pytest.approx(one.value) for name, one in values.items()}


def some(ndcg: float, below: float = 0.0, n: int = 80, noise: float = 0.0) -> Tried:
    return Tried(ndcg + noise * np.where(np.arange(n) % 2, 1.0, -1.0), np.full(n, below))


def test_of_models_that_are_as_good_the_one_that_lists_least_below_the_mean_is_served() -> None:
    """As good is within the standard error of the best, .0113 of 80 users."""
    tried, settings = {"ease": some(0.2, 0.5, noise=0.1), "ials": some(0.19, 0.3), "hybrid": some(0.185, 0.1)}, resolve({}, {})
    assert model_selection.served(["ease", "ials", "hybrid"], tried, settings) == "ials"
    assert model_selection.served(["ease", "hybrid"], tried, settings) == "ease"
    without = {name: one._replace(below=np.zeros(80)) for name, one in tried.items()}
    assert model_selection.served(["ease", "ials", "hybrid"], without, settings) == "ease"


def test_of_few_users_who_cannot_tell_models_apart_one_that_finds_far_less_is_not_served() -> None:
    tried = {"ease": some(0.16, 0.1, n=20), "hybrid": some(0.2, 0.5, n=20, noise=0.2)}
    assert tried["ease"].is_no_worse(tried["hybrid"]) and model_selection.served(["ease", "hybrid"], tried, resolve({}, {})) == "hybrid"


def test_a_model_that_was_fitted_to_nonsense_is_not_chosen(release: Release) -> None:
    """The one that is best is fitted again to items that were shuffled."""
    data, rows = fitted(release, "popular", "item_neighbours", "ease")
    names = model_selection.rankers(release, rows, data.settings)
    first = model_selection.served(names, model_selection.validated(release, names, data).tried, data.settings)
    arrays, parameters = model_files.load(release.model(first))
    order = np.random.default_rng(0).permutation(len(arrays["data"]))
    model_files.save(
        release.model(first), {**{k: np.array(v) for k, v in arrays.items()}, "data": np.array(arrays["data"])[order]}, parameters
    )
    assert model_selection.served(names, model_selection.validated(release, names, data).tried, data.settings) != first


def test_a_tie_goes_to_the_simpler_and_nobody_to_validate_on_to_the_blend() -> None:
    settings = resolve({}, {})
    assert model_selection.served(["ease", "hybrid"], {"ease": some(0.25), "hybrid": some(0.25)}, settings) == "ease"
    assert model_selection.served(["ease", "ials", "hybrid"], {}, settings) == "hybrid"


def test_without_validation_users_nothing_is_validated(release: Release) -> None:
    data, rows = fitted(release, "popular", "ease")
    assert model_selection.validated(release, ["ease"], replace(data, validation=lambda: None)) == ([], {}, "")


def test_held_out_rows_of_items_that_nobody_has_are_doubted(release: Release) -> None:
    """As where the end of a history is the end of a file that is sorted by item: what was kept out is nowhere else."""
    data, rows = fitted(release, "popular", "item_neighbours")
    kept, held, _ = data.validation()
    counts = np.bincount(data.interactions.items, minlength=N_ITEMS)
    rare = np.argsort(counts, kind="stable")[:5]
    odd = Validation(kept, Histories(held.indptr, rare[np.arange(len(held.items)) % 5].astype(np.int32), *held[2:]))
    scores, _, doubt = model_selection.validated(release, ["item_neighbours"], replace(data, validation=lambda: odd))
    assert doubt.startswith("validation contradicts sense: the best model, item_neighbours, has nDCG@10 0.") and len(scores) == 4


def test_without_times_there_is_nothing_to_turn_to(release: Release) -> None:
    data = data_for(release)
    interactions = Interactions(
        {name: getattr(data.interactions, name) for name in TYPES} | {"moments": np.zeros_like(data.interactions.moments)}, N_ITEMS
    )
    row = _fit(MODELS["transitions"], code_of("transitions"), replace(data, interactions=interactions), release)
    assert (row["status"], row["message"]) == ("skipped", "no user has interactions of two different times")
    assert not release.model("transitions").exists()


@pytest.mark.parametrize(
    ("serve", "failed", "message"),
    [
        ("ease", ["ease"], "ease was not trained: too large"),
        ("auto", ["popular"], "popular was not trained: too large"),
        ("auto", ["ease", "ials"], "ease was not trained: too large; ials was not trained: too large"),
    ],
)
def test_without_what_is_needed_there_is_no_release_and_every_reason_is_said(
    release: Release, serve: str, failed: list[str], message: str
) -> None:
    rows = [
        {"model": name, "status": "failed" if name in failed else "trained", "message": "too large"} for name in ("popular", "ease", "ials")
    ]
    with pytest.raises(StepError, match=f"{message}. The promoted release goes on"):
        model_selection.rankers(release, rows, resolve({"serve": serve}, {}))


def test_the_others_go_on_without_the_one_that_failed(release: Release) -> None:
    """One does not fit into its memory, one diverges; a model that nothing asks for may fail."""
    data, rows = fitted(release, "popular", "ease", "ials", "item_neighbours", ease_mib=1, ials_alpha=1e300)
    found = {row["model"]: row for row in rows}
    assert (found["ease"]["status"], found["ials"]["status"], found["item_neighbours"]["status"]) == ("failed", "failed", "trained")
    assert "needs" in found["ease"]["message"] and "ease_mib = 1" in found["ease"]["message"]
    assert not release.model("ease").exists() and not release.model("ials").exists()
    assert model_selection.rankers(release, rows, data.settings) == ["item_neighbours"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_item_side_that_is_not_finite_is_a_training_that_diverged(release: Release, value: float) -> None:
    code = ModuleType("diverging")
    code.fit = lambda data: ModelArrays({"item_factors": np.array([1.0, value, value], np.float32)}, {})
    row = _fit(Model("diverging"), code, data_for(release), release)
    assert row["status"] == "failed" and "training diverged: 2 of 3 values of item_factors are not finite" in row["message"]
    assert not model_files.exists(release.model("diverging"))
    assert finite(ModelArrays({"means": np.array([value])}, {}, unknown=("means",)))


def failing(name: str, what) -> tuple[Model, ModuleType]:
    """A model whose training, in a task, ends in `what`; made here, so that a task gets it by value."""
    code = ModuleType(name)
    code.fit = what
    return Model(name, doing="failing"), code


def test_a_lack_of_memory_and_a_lost_worker_fail_one_model_with_a_clear_message(spark, release: Release) -> None:
    data = replace(data_for(release), run=OnSpark(spark))

    def too_large(_):
        raise MemoryError("Unable to allocate 4.00 TiB")

    row = _fit(*failing("too_large", too_large), data, release)
    assert (row["status"], row["message"]) == ("failed", "MemoryError: Unable to allocate 4.00 TiB")
    row = _fit(*failing("lost", lambda _: os._exit(137)), data, release)
    assert row["status"] == "failed" and "worker that it ran in was lost" in row["message"] and "memory" in row["message"]
    assert _fit(MODELS["item_neighbours"], code_of("item_neighbours"), data, release)["status"] == "trained"


def test_the_reason_of_an_error_is_its_last_line() -> None:
    assert reason_of(ValueError("one\ntwo")) == "ValueError: one"
    raised = 'An exception was thrown:\nTraceback (most recent call last):\n  File "x"\n    a\n    ^^\nMemoryError: too much\n\n'
    assert reason_of(RuntimeError(raised)) == "MemoryError: too much"
