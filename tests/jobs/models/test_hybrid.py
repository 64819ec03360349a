"""The blend is as good on validation as the best of its parts, and what it learned is in its parameters."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jobs.kernels.histories import Histories
from jobs.kernels.lists import assemble, recommend
from jobs.kernels.weights import ItemWeights
from jobs.models import ease, hybrid, ials, item_neighbours, popular, transitions
from jobs.models.contract import TrainingData, Validation
from schemas.errors import ResourceError
from tests.jobs.models.worlds import histories, training
from warehouse import item_side

N_ITEMS = 60


def split() -> tuple[Histories, Validation]:
    """The last fifth of each of the first 80 users is kept out."""
    whole = histories(300, N_ITEMS, 4)
    lengths = np.diff(whole.indptr)
    user_of = np.repeat(np.arange(len(whole)), lengths)
    held = (whole.steps >= np.floor(0.8 * lengths[user_of])) & (user_of < 80)
    users = np.arange(80)
    return whole.select(~held), Validation(whole.select(~held).take(users), whole.select(held).take(users))


def fitted(folder: Path, *models: ModuleType, **settings) -> tuple[TrainingData, dict]:
    rows, validation = split()
    data = training(folder, rows, N_ITEMS, validation=validation, ials_factors=8, ials_iterations=4, **settings)
    for model in models:
        side = model.fit(data)
        item_side.save(data.sides / model.NAME, side.arrays, side.parameters)
    return data, item_side.load(data.sides / models[-1].NAME)[1]


def test_it_is_no_worse_on_validation_than_its_best_part(tmp_path: Path) -> None:
    parts = (ease, item_neighbours, transitions, ials)
    data, parameters = fitted(tmp_path, *parts, hybrid)
    kept, held = data.validation()
    for name, part in hybrid._parts(data).items():
        alone = hybrid.ndcg_of(hybrid.dense_scores(part, kept, parameters["half_life"]), kept, held, N_ITEMS)
        assert parameters["validation_ndcg_at_10"] >= alone - 1e-6, name
    assert parameters["n_validation_users"] == 80 and set(parameters["weights"]) == {m.NAME for m in parts}


def test_what_it_stores_ranks_as_what_it_chose(tmp_path: Path) -> None:
    data, parameters = fitted(tmp_path, popular, ease, transitions, ials, hybrid, weights_keep=N_ITEMS)
    sides = {path.name: item_side.load(path) for path in data.sides.iterdir()}
    sides["items"] = ({"item_ids": np.arange(N_ITEMS), "genre_indices": data.genres.indices, "genre_indptr": data.genres.indptr}, {"genres": ["a", "b", "c"]})
    kept, _ = data.validation()
    lists = recommend(assemble(sides, served="hybrid"), kept, n=10, explain_n=10, reasons_n=2, min_history=1)
    parts, half_life = hybrid._parts(data), parameters["half_life"]
    total = sum(w * hybrid.dense_scores(parts[name], kept, half_life) for name, w in parameters["weights"].items() if w)
    for k in range(len(kept)):
        rows = slice(lists.indptr[k], lists.indptr[k + 1])
        np.testing.assert_allclose(lists.scores[rows], total[k, lists.items[rows]], rtol=1e-3, atol=1e-3)


def test_without_anybody_to_learn_from_it_is_its_first_part(tmp_path: Path) -> None:
    rows, _ = split()
    data = training(tmp_path, rows, N_ITEMS)
    side = ease.fit(data)
    item_side.save(data.sides / "ease", side.arrays, side.parameters)
    found = hybrid.fit(data)
    np.testing.assert_allclose(
        ItemWeights(**found.arrays).rows(0, N_ITEMS).toarray(), ItemWeights(**side.arrays).rows(0, N_ITEMS).toarray(), rtol=1e-6
    )
    assert found.parameters["n_validation_users"] == 0


def test_nothing_to_blend_is_said(tmp_path: Path) -> None:
    rows, _ = split()
    with pytest.raises(ValueError, match="nothing to blend"):
        hybrid.fit(training(tmp_path, rows, N_ITEMS))


def test_a_matrix_that_does_not_fit_is_refused_with_its_size(tmp_path: Path) -> None:
    rows, _ = split()
    with pytest.raises(ResourceError, match=r"ease over 60 items needs .* MiB, more than ease_mib = 1"):
        ease.fit(training(tmp_path, rows, N_ITEMS, ease_mib=1))
