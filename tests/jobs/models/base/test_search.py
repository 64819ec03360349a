"""The search for hyper-parameters: what is declared is what is tried, in its order, and what is taken."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from jobs.models.base.contract import TrainingData
from jobs.models.base.judge import Judge, Tried
from jobs.models.base.search import Choice, Climb, HALF_LIVES, hill_climb, next_half_life, over_half_lives, Search
from jobs.models.registry import code_of
from schemas.models import MODELS
from schemas.settings import FIELDS
from tests.jobs.models.worlds import split, training

N_ITEMS = 60
SEARCHES = {name: found.SEARCH for name in MODELS if hasattr(found := importlib.import_module(f"jobs.models.{name}"), "SEARCH")}


class Errors:
    """A judge of ratings to whom a fit is worth what it says itself; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def rmse(self, error: float) -> float:
        self.asked.append(error)
        return error


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    rows, validation = split(N_ITEMS)
    return training(tmp_path, rows, N_ITEMS, validation=validation, ials_factors=8, als_factors=4)


def chosen(search: Search, data: TrainingData, error_of: Any, **arguments: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is chosen, and with which values something was fitted."""
    fits: list[dict[str, Any]] = []

    def fitted(_: TrainingData, values: dict[str, Any]) -> float:
        fits.append(dict(values))
        return error_of(**values)

    judge = arguments.pop("judge", cast(Judge, Errors()))
    return search.chosen(data, judge, cast(Any, fitted), **arguments)[0], fits


TWO = Search(
    (Choice("a", 1.0, (0.0, 1.0, 2.0)), Choice("b", lambda _, so_far: 10 * so_far["a"], climb=Climb((2.0,), 4, 8))), by_ratings=True
)


def test_choices_are_made_in_turn_the_later_ones_from_what_was_chosen(data: TrainingData) -> None:
    found, fits = chosen(TWO, data, lambda a, b: abs(a - 2) + abs(b - 40) / 100)
    assert found == {"a": 2.0, "b": 40.0}
    assert fits[:3] == [{"a": 1.0, "b": 10.0}, {"a": 0.0, "b": 0.0}, {"a": 2.0, "b": 20.0}]
    assert [one["b"] for one in fits[3:]] == [40.0, 80.0, 10.0][: len(fits) - 3] and len(fits) <= 2 + 4


def test_ties_go_to_what_is_named_first(data: TrainingData) -> None:
    assert chosen(TWO, data, lambda a, b: 0.0)[0] == {"a": 0.0, "b": 0.0}


def test_what_is_known_is_not_tried_and_without_anybody_to_ask_nothing_is(data: TrainingData) -> None:
    found, fits = chosen(TWO, data, lambda a, b: abs(b - 6), known={"a": 3.0})
    assert found == {"a": 3.0, "b": 7.5} and all(one["a"] == 3.0 for one in fits)
    assert chosen(TWO, data, lambda a, b: 0.0, judge=None) == ({"a": 1.0, "b": 10.0}, [])
    assert chosen(TWO, data, lambda a, b: 0.0, known={"a": 3.0, "b": 5.0}) == ({"a": 3.0, "b": 5.0}, [])
    assert not TWO.is_open(data, None) and not TWO.is_open(replace(data, chosen={"a": 1.0, "b": 2.0}), cast(Judge, Errors()))


def test_with_tune_more_is_tried(data: TrainingData) -> None:
    search = Search((Choice("a", 1.0, (1.0, 2.0), tuning=(1.0, 2.0, 3.0)), Choice("c", 5.0, tuning=(5.0, 6.0))), by_ratings=True)
    error = lambda a, c: -a - c
    assert chosen(search, data, error)[0] == {"a": 2.0, "c": 5.0}
    assert chosen(search, replace(data, tune=True), error)[0] == {"a": 3.0, "c": 6.0}


@pytest.mark.parametrize("name", SEARCHES)
def test_what_a_model_declares_stands_in_its_side_and_is_a_setting_of_its_own(data: TrainingData, name: str) -> None:
    for choice in SEARCHES[name].choices:
        assert not choice.setting or (choice.setting in FIELDS and choice.setting in MODELS[name].settings), choice
    assert {choice.name for choice in SEARCHES[name].choices} <= code_of(name).fit(data).parameters.keys()


def test_every_model_that_is_tuned_declares_what_it_tries() -> None:
    assert set(SEARCHES) == {"content", "ials", "als", "svd", "user_neighbours", "item_neighbours", "transitions", "ease"}


@pytest.mark.parametrize(("peak", "most"), [(0.75, 9), (200.0, 9), (np.inf, 7), (10.0, 6)])
def test_half_lives_are_tried_past_the_end_that_is_best_and_no_others(peak: float, most: int) -> None:
    distance = lambda at: abs(np.log(min(at, 1e6) / min(peak, 1e6)))
    found = over_half_lives(lambda at: Tried(np.full(3, -distance(at)), np.zeros(3)))
    assert max(found, key=lambda at: found[at].value) == peak and len(found) <= most
    beyond = [next_half_life(at, HALF_LIVES) for at in (1.5, 3.0, 10.0, 50.0, 100.0, np.inf)]
    assert beyond == [0.75, 1.5, None, 100.0, 200.0, 100.0]


@pytest.mark.parametrize(
    ("start", "peak", "most", "expected"), [(1.0, 4.0, 9, 4.0), (1.0, 0.25, 9, 0.25), (1.0, 64.0, 3, 4.0), (2.0, 2.0, 9, 2.0)]
)
def test_a_climb_stops_at_the_peak_or_at_its_bound(start: float, peak: float, most: int, expected: float) -> None:
    tried = []

    def value(x: float) -> float:
        tried.append(x)
        return -abs(np.log2(x / peak))

    assert hill_climb(value, start, factors=(2.0,), most=most) == expected
    assert len(tried) <= most and len(set(tried)) == len(tried)


def test_a_climb_by_large_steps_ends_with_small_ones() -> None:
    tried = []

    def value(x: float) -> float:
        tried.append(x)
        return -abs(np.log2(x / 0.032))

    best = hill_climb(value, 1.0, factors=(4.0, 2.0), most=9)
    assert tried == [1, 4, 1 / 4, 1 / 16, 1 / 64, 1 / 8, 1 / 32] and best == 1 / 32
