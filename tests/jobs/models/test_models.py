"""What every model promises, on data with tastes: it beats popularity, what it chose holds, and its side tells all."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.kernels.histories import Histories
from jobs.models import als, content, ease, ials, item_neighbours, known, popular, svd, transitions, tuning, user_neighbours
from jobs.models.contract import finite, ItemSide, TrainingData, Validation
from jobs.models.tuning import climbed, Judge
from schemas.errors import ResourceError
from tests.jobs.models.worlds import histories, training
from warehouse import item_side

N_ITEMS = 60
PERSONAL = (ials, ease, item_neighbours, user_neighbours, content)
HAS_TORCH = importlib.util.find_spec("torch") is not None


def world(folder: Path, **settings) -> TrainingData:
    """The last fifth of each of the first 150 users is kept out."""
    whole = histories(400, N_ITEMS, 4)
    lengths = np.diff(whole.indptr)
    user_of = np.repeat(np.arange(len(whole)), lengths)
    held = (whole.steps >= np.floor(0.8 * lengths[user_of])) & (user_of < 150)
    users = np.arange(150)
    validation = Validation(whole.select(~held).take(users), whole.select(held).take(users))
    return training(folder, whole.select(~held), N_ITEMS, validation=validation, ials_factors=8, als_factors=4, **settings)


@pytest.mark.parametrize("model", PERSONAL, ids=lambda model: model.NAME)
def test_a_personal_model_beats_popularity(tmp_path: Path, model) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    side = model.fit(data)
    assert judge.ndcg(model.scorer(side, data)) > judge.ndcg(popular.scorer(popular.fit(data), data)) + 0.02


@pytest.mark.parametrize("name", [name for name in known.MODELS if name not in ("hybrid", "neural")])
def test_a_side_is_whole_and_what_was_chosen_is_kept(tmp_path: Path, name: str) -> None:
    model, data = known.MODELS[name], world(tmp_path)
    side = finite(model.fit(data))
    item_side.save(tmp_path / "side", side.arrays, side.parameters)
    stored = ItemSide(*item_side.load(tmp_path / "side"))
    kept = data.validation().kept
    np.testing.assert_array_equal(model.scorer(side, data)(kept), model.scorer(stored, data)(kept))
    again = model.fit(replace(data, validation=None, chosen=side.parameters))
    assert again.parameters == json.loads(json.dumps(side.parameters)) == side.parameters
    for ours, theirs in zip(side.arrays.values(), again.arrays.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", (als, svd), ids=lambda model: model.NAME)
def test_what_predicts_ratings_is_better_than_their_biases(tmp_path: Path, model) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    rater = model.rater(model.fit(data))
    biases_alone = replace(rater, item_factors=np.zeros_like(rater.item_factors))
    assert judge.rmse(rater) < judge.rmse(biases_alone) - 0.02


def test_what_is_set_is_not_chosen(tmp_path: Path) -> None:
    data = world(tmp_path, ease_reg=77.0, half_life=4.0, ials_reg=0.5, als_reg=0.3, neighbours_n=20)
    assert ease.fit(data).parameters == {"reg": 77.0, "half_life": 4.0}
    found = ials.fit(data).parameters
    assert (found["reg"], found["half_life"], als.fit(data).parameters["reg"]) == (0.5, 4.0, 0.3)
    assert user_neighbours.fit(data).parameters["n_neighbours"] == 20


def test_tuning_looks_further_and_is_no_worse(tmp_path: Path) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    for model in (transitions, ease):
        values = [judge.ndcg(model.scorer(model.fit(of), of)) for of in (data, replace(data, tune=True))]
        assert values[1] >= values[0]


def test_recency_is_chosen_where_tastes_move_and_matters_less_where_they_stay(tmp_path: Path) -> None:
    """Items of the newer half of a history lead to what comes next; or the whole history does, alike."""
    gains = []
    draw = np.random.default_rng(2)
    for moves in (True, False):
        rows = []
        for _ in range(300):
            old, new = draw.permutation(3)[:2] * 20
            first = draw.choice(20, 8, replace=False) + old
            later = draw.choice(20, 8, replace=False) + (new if moves else old)
            rows.append(np.concatenate([first, [i for i in later if i not in first]]))
        lengths = np.array([len(row) for row in rows])
        steps = np.concatenate([np.arange(n) for n in lengths])
        whole = Histories(np.append(0, np.cumsum(lengths)), np.concatenate(rows).astype(np.int32), np.ones(len(steps)), np.full(len(steps), 3.0), steps)
        held = steps >= np.repeat(lengths - 3, lengths)
        validation = Validation(whole.select(~held), whole.select(held))
        data = training(tmp_path / str(moves), whole.select(~held), 60, validation=validation)
        side, judge = item_neighbours.fit(data), Judge(validation, 60)
        everlasting = side._replace(parameters=side.parameters | {"half_life": tuning.FOREVER})
        gains.append(judge.ndcg(item_neighbours.scorer(side, data)) - judge.ndcg(item_neighbours.scorer(everlasting, data)))
    assert gains[0] > 0.05 and gains[0] > gains[1] + 0.05 and gains[1] >= 0


@pytest.mark.parametrize(("start", "peak", "most", "expected"), [(1.0, 4.0, 9, 4.0), (1.0, 0.25, 9, 0.25), (1.0, 64.0, 3, 4.0), (2.0, 2.0, 9, 2.0)])
def test_a_climb_stops_at_the_peak_or_at_its_bound(start: float, peak: float, most: int, expected: float) -> None:
    tried = []

    def value(x: float) -> float:
        tried.append(x)
        return -abs(np.log2(x / peak))

    assert climbed(value, start, factor=2.0, most=most)[0] == expected
    assert len(tried) <= most and len(set(tried)) == len(tried)


def test_nobody_to_choose_by_leaves_the_defaults(tmp_path: Path) -> None:
    data = replace(world(tmp_path), validation=None)
    assert ease.fit(data).parameters == {"reg": ease.FIRST_REG, "half_life": tuning.DEFAULT_HALF_LIFE}
    assert ials.fit(data).parameters["reg"] == pytest.approx(ials.sparse_reg(data, 2.0))


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_neural_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"pip install '.\[neural\]'"):
        known.MODELS["neural"].fit(world(tmp_path))


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: pip install '.[neural]'")
def test_neural_learns_tastes_and_repeats(tmp_path: Path) -> None:
    neural, data = known.MODELS["neural"], world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    side = finite(neural.fit(data))
    again = neural.fit(replace(data, validation=None, chosen=side.parameters))
    for name, array in side.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-4, atol=1e-5)
    assert judge.ndcg(neural.scorer(side, data)) > judge.ndcg(popular.scorer(popular.fit(data), data))
