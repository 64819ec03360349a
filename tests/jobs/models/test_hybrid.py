"""The blend is as good on validation as the best of its parts, and what it learned is in its parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jobs.kernels.histories import Histories
from jobs.kernels.item_side import assemble
from jobs.kernels.lists import recommend
from jobs.kernels.weights import ItemWeights
from jobs.models import ease, hybrid, ials, item_neighbours, popular, transitions
from jobs.models.blending import pooled, spreads_of
from jobs.models.contract import TrainingData
from jobs.models.tuning import Judge
from schemas.errors import ResourceError
from tests.jobs.models.worlds import split, training
from warehouse import item_side

N_ITEMS = 60


def fitted(folder: Path, *models: ModuleType, **settings) -> tuple[TrainingData, dict]:
    rows, validation = split(N_ITEMS)
    data = training(folder, rows, N_ITEMS, validation=validation, ials_factors=8, ials_iterations=4, **settings)
    for model in models:
        side = model.fit(data)
        item_side.save(data.sides / model.NAME, side.arrays, side.parameters)
    return data, item_side.load(data.sides / models[-1].NAME)[1]


def test_it_is_no_worse_on_validation_than_its_best_part(tmp_path: Path) -> None:
    parts = (ease, item_neighbours, transitions, ials)
    data, parameters = fitted(tmp_path, *parts, hybrid)
    judge = Judge(data.validation(), N_ITEMS)
    for name, score in hybrid.scorers(hybrid.parts_of(data), parameters["half_life"]).items():
        assert parameters["validation_ndcg_at_10"] >= judge.ndcg(score) - 1e-3, name  # ties may fall either way
    assert parameters["n_validation_users"] == 80 and set(parameters["weights"]) == {m.NAME for m in parts}


def test_what_was_chosen_before_is_not_chosen_again(tmp_path: Path) -> None:
    data, parameters = fitted(tmp_path, ease, transitions, ials, hybrid)
    again = hybrid.fit(replace(data, validation=None, chosen=parameters)).parameters
    assert again == parameters


def test_the_search_looks_at_what_can_be_in_a_list_and_misses_nothing(tmp_path: Path) -> None:
    data, _ = fitted(tmp_path, ease, transitions, ials)
    judge, of = Judge(data.validation(), N_ITEMS), hybrid.scorers(hybrid.parts_of(data), 5.0)
    spreads = spreads_of(of, data.interactions.some(50))
    weights = {"ease": 1.0, "transitions": 0.5, "ials": 0.25}

    def blended(histories: Histories) -> np.ndarray:
        return sum(w / spreads[name] * np.nan_to_num(of[name](histories), neginf=0.0) for name, w in weights.items())

    assert np.nanmean(pooled(of, spreads, judge).ndcg(weights)) == pytest.approx(judge.ndcg(blended), abs=2e-3)


def test_what_it_stores_ranks_as_what_it_chose(tmp_path: Path) -> None:
    data, parameters = fitted(tmp_path, popular, ease, transitions, ials, hybrid, weights_keep=N_ITEMS)
    sides = {path.name: item_side.load(path) for path in data.sides.iterdir()}
    sides["items"] = ({"item_ids": np.arange(N_ITEMS), "genre_indices": data.genres.indices, "genre_indptr": data.genres.indptr}, {"genres": ["a", "b", "c"]})
    kept = data.validation().kept
    lists = recommend(assemble(sides, served="hybrid"), kept, n=10, explain_n=10, reasons_n=2, min_history=1)
    of = hybrid.scorers(hybrid.parts_of(data), parameters["half_life"])
    total = sum(w * np.nan_to_num(of[name](kept), neginf=0.0) for name, w in parameters["weights"].items() if w)
    whole = hybrid.scorer(hybrid.ItemSide(*item_side.load(data.sides / "hybrid")), data)(kept)
    np.testing.assert_allclose(np.nan_to_num(whole, neginf=0.0), total, rtol=1e-3, atol=1e-3)
    for k in range(len(kept)):
        rows = slice(lists.indptr[k], lists.indptr[k + 1])
        np.testing.assert_allclose(lists.scores[rows], total[k, lists.items[rows]], rtol=1e-3, atol=1e-3)


def test_without_anybody_to_learn_from_it_is_its_first_part(tmp_path: Path) -> None:
    rows, _ = split(N_ITEMS)
    data = training(tmp_path, rows, N_ITEMS)
    side = ease.fit(data)
    item_side.save(data.sides / "ease", side.arrays, side.parameters)
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
