"""Promises that every model keeps on data with tastes: it beats popularity, what it chose holds, and its side tells all."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from jobs.kernels.histories import Histories
from jobs.kernels.relevance import damped_means
from jobs.models import als, content, ease, ials, item_neighbours, popular, svd, transitions, user_neighbours
from jobs.models.base import search
from jobs.models.base.contract import finite, ModelArrays, TrainingData, Validation
from jobs.models.base.disliked import Disliked
from jobs.models.base.judge import Judge, judge_of, preferred, standard_error, Tried
from jobs.models.registry import code_of
from jobs.spark.task_pool import OnSpark
from schemas.errors import ResourceError
from schemas.models import FOREVER, MODELS
from tests.jobs.models.worlds import histories, scorer_of, training
from warehouse import model_files
from warehouse.layout import Release

N_ITEMS = 60
PERSONAL = (ials, ease, item_neighbours, transitions, user_neighbours, content)
HAS_TORCH = importlib.util.find_spec("torch") is not None


def name_of(model: ModuleType) -> str:
    return model.__name__.rpartition(".")[2]


def world(folder: Path, **settings) -> TrainingData:
    """The last fifth of each of the first 150 users is kept out."""
    whole = histories(400, N_ITEMS, 4)
    lengths = np.diff(whole.indptr)
    user_of = np.repeat(np.arange(len(whole)), lengths)
    held = (whole.moments >= np.floor(0.8 * lengths[user_of])) & (user_of < 150)
    users = np.arange(150)
    validation = Validation(whole.select(~held).take(users), whole.select(held).take(users))
    return training(folder, whole.select(~held), N_ITEMS, validation=validation, ials_factors=8, als_factors=4, **settings)


@pytest.mark.parametrize("model", PERSONAL, ids=lambda model: model.__name__)
def test_a_personal_model_beats_popularity(tmp_path: Path, model) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    side = model.fit(data)
    assert judge.ndcg(scorer_of(name_of(model), side, data)) > judge.ndcg(popular.scorer(popular.fit(data), data)) + 0.02


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("hybrid", "neural")])
def test_a_side_is_whole_and_what_was_chosen_is_kept(tmp_path: Path, name: str) -> None:
    model, data = code_of(name), world(tmp_path)
    side = finite(model.fit(data))
    model_files.save(tmp_path / "side", side.arrays, side.parameters)
    stored = ModelArrays(*model_files.load(tmp_path / "side"))
    kept = data.validation().kept
    np.testing.assert_array_equal(scorer_of(name, side, data)(kept), scorer_of(name, stored, data)(kept))
    again = model.fit(replace(data, validation=None, chosen=side.parameters))
    assert again.parameters == json.loads(json.dumps(side.parameters)) == side.parameters
    for ours, theirs in zip(side.arrays.values(), again.arrays.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", (als, svd), ids=lambda model: model.__name__)
def test_what_predicts_ratings_is_better_than_their_biases(tmp_path: Path, model) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    rater = model.rater(model.fit(data))
    biases_alone = replace(rater, item_factors=np.zeros_like(rater.item_factors))
    assert judge.rmse(rater) < judge.rmse(biases_alone) - 0.02


def test_what_is_set_is_not_chosen(tmp_path: Path) -> None:
    data = world(tmp_path, ease_reg=77.0, half_life=4.0, ials_reg=0.5, neighbours_n=20)
    assert {name: ease.fit(data).parameters[name] for name in ("reg", "half_life")} == {"reg": 77.0, "half_life": 4.0}
    found = ials.fit(data).parameters
    assert (found["reg"], found["half_life"]) == (0.5, 4.0)
    assert user_neighbours.fit(data).parameters["n_neighbours"] == 20


@pytest.mark.parametrize("similarity", ["cosine", "bm25", "turbo_cf", "adjusted_cosine"])
def test_neighbours_are_the_same_however_items_are_shared_out(spark, tmp_path: Path, monkeypatch, similarity: str) -> None:
    alone = world(tmp_path / "alone", neighbours_similarity=similarity)
    whole = item_neighbours.fit(alone)
    monkeypatch.setattr(item_neighbours, "ONE_TASK", 0)
    shared = item_neighbours.fit(replace(world(tmp_path / "shared", neighbours_similarity=similarity), run=OnSpark(spark)))
    assert shared.parameters == whole.parameters and len(whole.arrays["data"]) > 0
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, shared.arrays[name])
    assert not list(alone.scratch.rglob("*.npy"))


def test_the_similarity_is_the_one_that_finds_most_on_validation_and_is_not_chosen_again(tmp_path: Path) -> None:
    data = world(tmp_path, relevance="all", half_life=5.0)
    judge, found, value_of = judge_of(data), item_neighbours.fit(data).parameters, {}
    for similarity in [("bm25", {}), *(("turbo_cf", {"by_user": a, "power": p}) for a in (0.6, 0.5) for p in (0.7, 1.0))]:
        chosen = {"similarity": similarity[0], "half_life": 5.0, **similarity[1]}
        side = item_neighbours.fit(replace(data, chosen=chosen))
        assert side.parameters == chosen
        value_of[tuple(sorted(chosen.items()))] = judge.ndcg(scorer_of("item_neighbours", side, data))
    assert len(set(value_of.values())) == 5 and max(value_of, key=value_of.get) == tuple(sorted(found.items()))
    assert item_neighbours.fit(replace(data, validation=None)).parameters["similarity"] == "bm25"
    set_to = item_neighbours.fit(replace(data, settings=replace(data.settings, neighbours_similarity="turbo_cf"))).parameters
    assert (set_to["by_user"], set_to["power"]) == (0.6, 0.7)


def test_transitions_count_more_moments_where_what_follows_comes_late_and_no_more_than_are_affordable(tmp_path: Path, monkeypatch) -> None:
    """Each history is 12 items in random order, then 12 that each follow one of them, 12 moments later."""
    draw = np.random.default_rng(7)
    first = np.array([draw.choice(40, 12, replace=False) for _ in range(300)])
    rows = np.concatenate([first, 40 + first], axis=1)
    moments = np.tile(np.arange(24), 300)
    whole = Histories(24 * np.arange(301), rows.ravel().astype(np.int32), np.ones(7200), np.full(7200, 3.0), moments)
    held = moments >= 20
    data = training(tmp_path, whole.select(~held), 80, validation=Validation(whole.select(~held), whole.select(held)))
    found = transitions.fit(data)
    assert found.parameters["lags"] > 10
    few = transitions.fit(replace(data, settings=replace(data.settings, transitions_lags=3, transitions_damping=2.0)))
    assert (few.parameters["lags"], few.parameters["damping"]) == (3, 2.0)
    judge = Judge(data.validation(), 80)
    assert judge.ndcg(scorer_of("transitions", found, data)) > judge.ndcg(scorer_of("transitions", few, data)) + 0.1
    monkeypatch.setattr(transitions, "MOST_PAIRS", 29 * len(data.interactions))
    assert transitions.fit(data).parameters["lags"] == 10


def test_films_of_near_years_are_more_alike(tmp_path: Path) -> None:
    years = [1994, 1995, 1998, None, 1960, *[None] * 5]
    names = pa.array(["drama", "drama", "Drama", "war", "war", *"abcde"])
    texts = {"title": [""] * 10, "genres": names, "tags": [""] * 10, "description": [""] * 10, "year": pa.array(years)}
    alike = (features := content.features(pa.table(texts))) @ features.T
    assert alike[0, 1] > alike[0, 2] > 0 == alike[0, 4]
    assert alike[0, 0] == pytest.approx(1) and alike[3, 4] > 0


def test_without_a_word_in_common_content_is_skipped_and_not_failed(tmp_path: Path) -> None:
    from jobs.train.step import _fit

    data = training(tmp_path, Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2), np.full(2, np.nan), np.zeros(2, int)), 60)
    texts = {"title": [f"{710_088 + i}" for i in range(60)], **dict.fromkeys(("genres", "tags", "description"), [""] * 60)}
    data = replace(data, items=pa.table(texts | {"year": pa.nulls(60, pa.int64())}))
    row = _fit(MODELS["content"], content, data, Release(tmp_path))
    assert row["status"] == "skipped" and row["message"].startswith("no two items share a genre, a tag, a year or a word of a title")


def of_two_users(folder: Path) -> TrainingData:
    """Users with a mean of 3: the first goes on to items 2 (rated 5) and 3 (rated 1), the second to item 3 (rated 1) alone."""
    kept = Histories(np.array([0, 2, 4]), np.array([0, 1, 0, 1], np.int32), np.ones(4), np.array([2.0, 4, 3, 3]), np.array([0, 1, 0, 1]))
    held = Histories(np.array([0, 2, 3]), np.array([2, 3, 3], np.int32), np.ones(3), np.array([5.0, 1, 1]), np.array([0, 1, 0]))
    return training(folder, kept, 6, validation=Validation(kept, held))


def test_only_what_was_liked_counts_as_found_unless_everything_is_asked_for(tmp_path: Path) -> None:
    data = of_two_users(tmp_path)
    first_of = lambda item: lambda histories: np.tile(np.where(np.arange(6) == item, 1.0, -np.inf), (len(histories), 1))
    assert (judge_of(data).ndcg(first_of(2)), judge_of(data).ndcg(first_of(3))) == (1.0, 0.0)
    for by_all in (replace(data, settings=replace(data.settings, relevance="all")), replace(data, rating_scale=None)):
        both = 1 + 1 / np.log2(3)
        assert judge_of(by_all).ndcg(first_of(2)) == pytest.approx(0.5 / both)
        assert judge_of(by_all).ndcg(first_of(3)) == pytest.approx((1 / both + 1) / 2)


def test_of_settings_that_are_as_good_the_one_with_fewest_rows_below_the_mean_is_preferred() -> None:
    """The second is behind by less than the standard error of the best, .0144 of 400 users, the third by more."""
    best = np.random.default_rng(0).random(400)
    of = lambda behind, below: Tried(best - behind, np.full(400, below))
    tried = [of(0, 0.5), of(0.01, 0.3), of(0.03, 0.0), of(0.01, 0.4)]
    assert standard_error(best) == pytest.approx(np.std(best, ddof=1) / 20)
    assert (preferred(tried), preferred(tried[2:3]), preferred([tried[0], tried[2]])) == (1, 0, 0)
    assert preferred([of(0, 0.0), of(0.01, 0.0)]) == 0


def test_a_fifth_of_the_rows_below_the_mean_is_few_enough() -> None:
    best = np.random.default_rng(0).random(400)
    of = lambda behind, below: Tried(best - behind, np.full(400, below))
    assert preferred([of(0, 0.5), of(0.005, 0.2), of(0.01, 0.1)]) == 1
    assert preferred([of(0, 0.5), of(0.005, 0.21), of(0.01, 0.1)]) == 2


def test_a_gain_counts_where_it_is_surer_than_chance() -> None:
    draw = np.random.default_rng(0)
    base = Tried(draw.random(400), np.zeros(400))
    surely, hardly = (
        Tried(base.ndcg + gain + spread * draw.normal(0, 1, 400), base.below) for gain, spread in ((0.02, 0.05), (0.001, 0.2))
    )
    assert not base.is_no_worse(surely) and base.is_no_worse(hardly)


def test_items_below_the_mean_are_those_that_a_rater_says(tmp_path: Path) -> None:
    data = world(tmp_path)
    rater, kept = als.rater(als.fit(data)), data.validation().kept
    means = damped_means(kept, data.mean_rating, 5.0)
    items = np.array([[0, 5, -1], [7, 9, 30]])
    found = Disliked(rater, kept, means).among(items, slice(3, 5))
    for k, user in enumerate((3, 4)):
        predicted = rater.predict(rater.posterior(*kept.user(user).rated), np.maximum(items[k], 0))
        assert found[k].tolist() == [bool(value < means[user]) and item >= 0 for value, item in zip(predicted, items[k])]
    np.testing.assert_allclose(Disliked(rater, kept, means).shares(items, slice(3, 5)), found.sum(axis=1) / [2, 3])


def test_one_rating_tells_less_of_an_item_than_a_hundred(tmp_path: Path) -> None:
    """Of two items with ratings alike, that which one user alone rated is taken to be the less sure one by far."""
    users = histories(400, N_ITEMS, 4)
    often = int(np.bincount(users.items).argmax())
    row = max(np.flatnonzero(users.items == often), key=lambda row: users.ratings[row])
    user = int(np.searchsorted(users.indptr, row, side="right")) - 1
    end = users.indptr[user + 1]
    with_one = Histories(
        users.indptr + (np.arange(len(users) + 1) > user),
        np.insert(users.items, end, N_ITEMS),
        np.insert(users.strengths, end, users.strengths[row]),
        np.insert(users.ratings, end, users.ratings[row]),
        np.insert(users.moments, end, users.moments.max() + 1),
    )
    variances = als.fit(training(tmp_path, with_one, N_ITEMS + 1, als_factors=8)).arrays["item_variances"].mean(axis=1)
    assert variances[N_ITEMS] > 5 * variances[often] > 0


def test_scores_that_share_work_are_worth_what_they_are_alone(tmp_path: Path) -> None:
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    alone = [scorer_of("item_neighbours", item_neighbours.fit(data), data), popular.scorer(popular.fit(data), data)]
    assert judge.ndcgs(lambda kept: (score(kept) for score in alone)) == [judge.ndcg(score) for score in alone]


def test_tuning_looks_further_and_is_about_as_good_at_least(tmp_path: Path) -> None:
    """Choices are made in turn, so more values of the first may lead to another end."""
    data = world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    for model in (transitions, ease):
        values = [judge.ndcg(scorer_of(name_of(model), model.fit(of), of)) for of in (data, replace(data, tune=True))]
        assert values[1] >= values[0] - 0.005


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
        moments = np.concatenate([np.arange(n) for n in lengths])
        whole = Histories(
            np.append(0, np.cumsum(lengths)),
            np.concatenate(rows).astype(np.int32),
            np.ones(len(moments)),
            np.full(len(moments), 3.0),
            moments,
        )
        held = moments >= np.repeat(lengths - 3, lengths)
        validation = Validation(whole.select(~held), whole.select(held))
        data = training(tmp_path / str(moves), whole.select(~held), 60, validation=validation)
        side, judge = item_neighbours.fit(data), Judge(validation, 60)
        everlasting = side._replace(parameters=side.parameters | {"half_life": FOREVER})
        gains.append(judge.ndcg(scorer_of("item_neighbours", side, data)) - judge.ndcg(scorer_of("item_neighbours", everlasting, data)))
    assert gains[0] > 0.05 and gains[0] > gains[1] + 0.05 and gains[1] >= 0


def test_a_search_for_the_regularisation_does_not_begin_where_every_factor_is_zero(tmp_path: Path) -> None:
    data = world(tmp_path)
    many = replace(data, n_ratings=np.ones(1_000_000), rating_sum=np.ones(1_000_000))
    assert ials.sparse_reg(data, {"alpha": 2.0}) < ials.sparse_reg(many, {"alpha": 2.0}) == ials.MOST_REG


def test_nobody_to_choose_by_leaves_the_defaults(tmp_path: Path) -> None:
    data = replace(world(tmp_path), validation=None)
    defaults = {"reg": 300.0, "dropout": 0.0, "rarity_exponent": 0.0, "half_life": search.DEFAULT_HALF_LIFE}
    assert ease.fit(data).parameters == defaults
    assert ials.fit(data).parameters["reg"] == pytest.approx(ials.sparse_reg(data, {"alpha": 2.0}))


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_neural_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"pip install '.\[neural\]'"):
        code_of("neural").fit(world(tmp_path))


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: pip install '.[neural]'")
def test_neural_learns_tastes_and_repeats(tmp_path: Path) -> None:
    neural, data = code_of("neural"), world(tmp_path)
    judge = Judge(data.validation(), N_ITEMS)
    side = finite(neural.fit(data))
    again = neural.fit(replace(data, validation=None, chosen=side.parameters))
    for name, array in side.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-4, atol=1e-5)
    assert judge.ndcg(neural.scorer(side, data)) > judge.ndcg(popular.scorer(popular.fit(data), data))
