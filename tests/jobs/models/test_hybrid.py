"""The blend is about as good on validation as the best of its parts, lists less that its users would not like, and what it learned is
in its parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jobs.kernels.factors import ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import assemble, matrices_of
from jobs.kernels.lists import recommend
from jobs.kernels.weights import ItemWeights
from jobs.models import als, ease, hybrid, ials, item_neighbours, popular, transitions
from jobs.models.base import judge as judges
from jobs.models.base.blending import Pool, spread_of
from jobs.models.base.contract import ModelArrays, TrainingData
from jobs.models.base.judge import judge_of, standard_error
from schemas.errors import ResourceError
from tests.jobs.models.worlds import scorer_of, split, training
from warehouse import model_files

N_ITEMS = 60


def name_of(model: ModuleType) -> str:
    return model.__name__.rpartition(".")[2]


def fitted(folder: Path, *models: ModuleType, **settings) -> tuple[TrainingData, dict]:
    rows, validation = split(N_ITEMS)
    small = {"ials_factors": 8, "ials_iterations": 4, "als_factors": 4, "als_iterations": 4, "als_reg": 0.15}
    data = training(folder, rows, N_ITEMS, validation=validation, **small, **settings)
    for model in models:
        side = model.fit(data)
        model_files.save(data.sides / name_of(model), side.arrays, side.parameters)
    return data, model_files.load(data.sides / name_of(models[-1]))[1]


@pytest.mark.parametrize("few", [0.0, judges.FEW])
def test_it_is_about_as_good_on_validation_as_its_best_part_and_lists_less_below_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: float
) -> None:
    monkeypatch.setattr(judges, "FEW", few)
    data, parameters = fitted(tmp_path, ease, item_neighbours, transitions, ials, als, hybrid)
    parts = hybrid.parts_of(data)
    judge = judge_of(data, rater=parts["als"])
    blend = judge.tried(scorer_of("hybrid", ModelArrays(*model_files.load(data.sides / "hybrid")), data))
    assert blend.value == pytest.approx(parameters["validation_ndcg_at_10"], abs=2e-3)  # ties may fall either way
    for name in set(parts) - {"als"}:
        for half_life in (3.0, np.inf):
            alone = judge.tried(hybrid.scorer_of(parts, (name, half_life)))
            assert alone.value - standard_error(alone.ndcg) <= blend.value, name
            assert blend.below.mean() < max(alone.below.mean(), few), name
    assert (few > 0 or "als" in parameters["weights"]) and parameters["n_validation_users"] == 80
    assert parameters["shares"].keys() == parameters["half_lives"].keys() == parameters["weights"].keys()


def test_by_all_rows_it_is_the_best_that_was_found_and_by_a_set_half_life_all_of_it_fades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (ease, transitions, ials, als)
    data, parameters = fitted(tmp_path, *parts, hybrid, relevance="all")
    judge = judge_of(data)
    assert judge.disliked is None
    for name in ("ease", "transitions", "ials"):
        assert parameters["validation_ndcg_at_10"] >= judge.ndcg(hybrid.scorer_of(hybrid.parts_of(data), (name, 5.0))) - 1e-3
    monkeypatch.setattr(judges, "FEW", 0.0)  # so that als comes in
    one = hybrid.fit(replace(data, settings=replace(data.settings, half_life=4.0, relevance="liked"))).parameters
    assert set(one["half_lives"].values()) == {4.0} and "als" in one["weights"]


def test_what_was_chosen_before_is_not_chosen_again(tmp_path: Path) -> None:
    data, parameters = fitted(tmp_path, ease, transitions, ials, hybrid)
    again = hybrid.fit(replace(data, validation=None, chosen=parameters)).parameters
    assert again == parameters


def test_the_search_looks_at_what_can_be_in_a_list_and_misses_nothing(tmp_path: Path) -> None:
    data, _ = fitted(tmp_path, ease, transitions, ials, als)
    parts = hybrid.parts_of(data)
    judge, sample, scorer_at = judge_of(data, rater=parts["als"]), data.interactions.some(50), lambda term: hybrid.scorer_of(parts, term)
    weights = {("ease", np.inf): 1.0, ("ease", 3.0): 0.5, ("transitions", 5.0): 0.5, ("ials", 5.0): 0.25, ("als", np.inf): 1.0}
    spreads = {term: spread_of(scorer_at(term), sample) for term in weights}

    def blended(histories: Histories) -> np.ndarray:
        return sum(w / spreads[term] * np.nan_to_num(scorer_at(term)(histories), neginf=0.0) for term, w in weights.items())

    found, whole = Pool(parts, scorer_at, judge, sample).tried(weights), judge.tried(blended)
    assert found.value == pytest.approx(whole.value, abs=2e-3) and found.below.mean() == pytest.approx(whole.below.mean(), abs=2e-3)


def test_what_it_stores_ranks_as_what_it_chose(tmp_path: Path) -> None:
    data, found = fitted(tmp_path, popular, ease, transitions, ials, als, hybrid, weights_keep=N_ITEMS)
    shares = {"ease": 0.5, "ease_long": 0.3, "transitions": 1.0, "ials": 0.2, "als": 2.0}
    half_lives = {"ease": 3.0, "ease_long": 1e9, "transitions": 3.0, "ials": 10.0, "als": 1e9}
    side = hybrid.fit(replace(data, chosen=found | {"shares": shares, "half_lives": half_lives}))
    parameters = side.parameters
    assert [at for _, at in matrices_of(side.arrays, parameters)] == [3.0, 1e9] and parameters["weights"].keys() == shares.keys()
    model_files.save(data.sides / "hybrid", side.arrays, side.parameters)
    sides = {path.name: model_files.load(path) for path in data.sides.iterdir()}
    sides["items"] = (
        {"item_ids": np.arange(N_ITEMS), "genre_indices": data.genres.indices, "genre_indptr": data.genres.indptr},
        {"genres": ["a", "b", "c"]},
    )
    kept = data.validation().kept
    lists = recommend(assemble(sides, served="hybrid"), kept, n=10, explain_n=10, reasons_n=2, min_history=1)
    terms = {name: (name.removesuffix("_long"), half_lives[name]) for name in shares}
    of = {name: hybrid.scorer_of(hybrid.parts_of(data), term)(kept) for name, term in terms.items()}
    total = sum(w * np.nan_to_num(of[name], neginf=0.0) for name, w in parameters["weights"].items())
    whole = scorer_of("hybrid", ModelArrays(*model_files.load(data.sides / "hybrid")), data)(kept)
    np.testing.assert_allclose(np.nan_to_num(whole, neginf=0.0), total, rtol=1e-3, atol=1e-3)
    for k in range(len(kept)):
        rows = slice(lists.indptr[k], lists.indptr[k + 1])
        np.testing.assert_allclose(lists.scores[rows], total[k, lists.items[rows]], rtol=1e-3, atol=1e-3)


def test_a_blend_of_an_older_release_ranks_as_it_did(tmp_path: Path) -> None:
    """It had one half-life for all, and a weight of ials in its parameters."""
    data, _ = fitted(tmp_path, popular, ease, ials)
    sides = {path.name: model_files.load(path) for path in data.sides.iterdir()}
    sides["items"] = (
        {"item_ids": np.arange(N_ITEMS), "genre_indices": data.genres.indices, "genre_indptr": data.genres.indptr},
        {"genres": ["a", "b", "c"]},
    )
    older = {"half_life": 7.0, "ials_weight": 0.4, "shares": {"ease": 1.0, "ials": 0.5}, "weights": {"ease": 9.0, "ials": 0.4}}
    sides["hybrid"] = (sides["ease"][0], older)
    (_, matrix), (weight, factors) = assemble(sides, served="hybrid").ranker.parts
    assert (matrix.half_life, weight, factors.half_life) == (7.0, 0.4, 7.0) and isinstance(factors, ImplicitFactors)


def test_without_anybody_to_learn_from_it_is_its_first_part(tmp_path: Path) -> None:
    rows, _ = split(N_ITEMS)
    data = training(tmp_path, rows, N_ITEMS)
    side = ease.fit(data)
    model_files.save(data.sides / "ease", side.arrays, side.parameters)
    found = hybrid.fit(data)
    ours, alone = (ItemWeights(**of.arrays).rows(0, N_ITEMS).toarray() for of in (found, side))
    np.testing.assert_allclose(ours, alone * (ours[0, 1] / alone[0, 1]), rtol=1e-5)
    assert found.parameters["n_validation_users"] == 0


def test_nothing_to_blend_is_said(tmp_path: Path) -> None:
    rows, _ = split(N_ITEMS)
    with pytest.raises(ValueError, match="nothing to blend"):
        hybrid.fit(training(tmp_path, rows, N_ITEMS))


def test_a_matrix_that_does_not_fit_is_refused_with_its_size(tmp_path: Path) -> None:
    rows, _ = split(N_ITEMS)
    with pytest.raises(ResourceError, match=r"ease over 60 items needs .* MiB, more than ease_mib = 1"):
        ease.fit(training(tmp_path, rows, N_ITEMS, ease_mib=1))
