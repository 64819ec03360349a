"""ease over a catalogue that the dense matrix has no room for: the most popular as they were, and every other item beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from jobs.kernels.histories import concatenated, Histories
from jobs.kernels.training.ease import memory_mib
from jobs.models import ease, popular
from jobs.models.base import ease_tail
from jobs.models.base.contract import ModelArrays, TrainingData
from jobs.models.base.judge import judge_of
from jobs.spark.task_pool import OnSpark
from tests.jobs.models.worlds import scorer_of, split, training

N_ITEMS, HEAD = 60, 20


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 items fit into the ease_mib of `data`, and 20 are solved densely in any case."""
    monkeypatch.setattr(ease, "EASE_HEAD", HEAD)
    monkeypatch.setattr(ease.ease, "memory_mib", lambda n_items: 5.0 * n_items)


def data(folder: Path, rows: Histories | None = None, **settings) -> TrainingData:
    own, validation = split(N_ITEMS)
    given = {"ease_mib": 150, "weights_keep": N_ITEMS} | settings
    return training(folder, own if rows is None else rows, N_ITEMS, validation=None if rows is not None else validation, **given)


def matrix(side: ModelArrays) -> np.ndarray:
    arrays = side.arrays
    return csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(N_ITEMS, N_ITEMS)).toarray()


def head_and_tail(of: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((np.arange(N_ITEMS), -of.n_ratings))
    return np.sort(order[:HEAD]), np.sort(order[HEAD:])


def test_the_head_is_what_it_is_alone_and_the_tail_is_the_closed_form_of_all(tmp_path: Path, no_room: None) -> None:
    """One user has all items, so that each is a neighbour of each."""
    own, validation = split(N_ITEMS)
    everything = Histories(np.array([0, N_ITEMS]), np.arange(N_ITEMS, dtype=np.int32), *np.ones((2, N_ITEMS)), np.zeros(N_ITEMS, int))
    of = replace(data(tmp_path, concatenated([own, everything])), validation=lambda: validation)
    found = ease.fit(of)
    alone = ease.fit(replace(of, settings=replace(of.settings, ease_items=HEAD)))
    whole = ease.fit(replace(of, chosen=found.parameters, settings=replace(of.settings, ease_mib=1_000)))
    head, tail = head_and_tail(of)
    assert found.parameters == alone.parameters == whole.parameters
    np.testing.assert_array_equal(matrix(found)[np.ix_(head, head)], matrix(alone)[np.ix_(head, head)])
    assert not matrix(alone)[tail].any() and (matrix(found)[tail] != 0).any(axis=1).all() and not matrix(alone)[:, tail].any()
    np.testing.assert_allclose(matrix(found)[:, tail], matrix(whole)[:, tail], rtol=1e-3, atol=1e-5)  # float32 solves on one side


def test_with_few_neighbours_it_covers_all_and_finds_more_than_the_head_and_popularity(tmp_path: Path, no_room: None) -> None:
    of = data(tmp_path, ease_neighbours=8, relevance="all")
    judge = judge_of(of)
    alone = replace(of, settings=replace(of.settings, ease_items=HEAD))
    whole, head = (judge.ndcg(scorer_of("ease", ease.fit(one), one)) for one in (of, alone))
    assert whole > head + 0.01 and whole > judge.ndcg(popular.scorer(popular.fit(of), of)) + 0.02
    found = matrix(ease.fit(of))
    _, tail = head_and_tail(of)
    assert (found[tail] != 0).any(axis=1).all() and ((found[:, tail] != 0).sum(axis=0) == 8).all()


def test_items_of_five_interactions_are_covered_and_rarer_ones_where_there_are_few(tmp_path: Path, no_room: None, monkeypatch) -> None:
    """Item i has i users."""
    users = [np.flatnonzero(np.arange(N_ITEMS) > user) for user in range(N_ITEMS)]
    items = np.concatenate(users).astype(np.int32)
    rows = Histories(
        np.append(0, np.cumsum([len(user) for user in users])),
        items,
        np.ones(len(items)),
        np.full(len(items), 3.0),
        np.zeros(len(items), int),
    )
    reached = lambda **given: np.flatnonzero(matrix(ease.fit(data(tmp_path / str(given), rows, **given))).any(axis=0)).tolist()
    assert reached() == list(range(5, N_ITEMS))
    assert reached(ease_items=50) == list(range(10, N_ITEMS))
    monkeypatch.setattr(ease, "EASE_HEAD", 58)
    assert reached(ease_mib=1_000) == list(range(2, N_ITEMS))


def test_it_is_the_same_however_the_tail_is_shared_out(spark, tmp_path: Path, no_room: None, monkeypatch) -> None:
    alone = replace(data(tmp_path / "alone", ease_neighbours=8), run=OnSpark(spark))
    whole = ease.fit(alone)  # by one task
    monkeypatch.setattr(ease_tail, "ONE_TASK", 0)
    shared = ease.fit(replace(data(tmp_path / "shared", ease_neighbours=8), run=OnSpark(spark)))
    assert shared.parameters == whole.parameters
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, shared.arrays[name])
    assert not list(alone.scratch.rglob("*.npy"))


def test_a_search_looks_at_no_more_than_the_head_where_all_are_solved(tmp_path: Path, monkeypatch) -> None:
    """The matrix of all 60 items has room, and what is chosen is what 20 of them choose."""
    monkeypatch.setattr(ease, "EASE_HEAD", HEAD)
    of = data(tmp_path, ease_mib=round(memory_mib(N_ITEMS)) + 1)
    found, few = ease.fit(of), ease.fit(replace(of, settings=replace(of.settings, ease_items=HEAD)))
    assert found.parameters == few.parameters
    again = ease.fit(replace(of, chosen=found.parameters, validation=None))
    np.testing.assert_array_equal(matrix(found), matrix(again))
    assert (matrix(found) != 0).any(axis=0).all()
