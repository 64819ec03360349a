"""The code of each model that `schemas.models` declares: the file of its name in this folder."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import cast, Protocol

import numpy as np

from jobs.kernels.item_side import assemble, FACTORS
from jobs.kernels.recommender import Recommender
from jobs.models import popular
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.scoring import Rater
from schemas.models import MODELS
from warehouse import model_files


class ModelCode(Protocol):
    """The function in the file of every model. A model that can be served is scored by what orders its lists."""

    def fit(self, data: TrainingData) -> ModelArrays:
        """Train on the rows; returns all that is kept. Raises CannotBe if the data has nothing that the model is made of."""


class UnservedCode(ModelCode, Protocol):
    """The functions of a model that cannot be served."""

    def scorer(self, side: ModelArrays, data: TrainingData) -> Scorer:
        """Return a function of histories that scores every item."""


class RatingCode(ModelCode, Protocol):
    """The functions of a model that predicts ratings."""

    def rater(self, side: ModelArrays) -> Rater:
        """Return what predicts a user's rating of an item."""


def code_of(name: str) -> ModelCode:
    """Return the code of a declared model. Raises KeyError for another name."""
    return cast(ModelCode, importlib.import_module(f"jobs.models.{MODELS[name].name}"))


def scorer_of(name: str, side: ModelArrays, data: TrainingData) -> Scorer:
    """Return what scores every item by a model that cannot be served."""
    return cast(UnservedCode, code_of(name)).scorer(side, data)


def rater_of(name: str, side: ModelArrays) -> Rater:
    """Return what predicts ratings by a model that is declared to predict them."""
    return cast(RatingCode, code_of(name)).rater(side)


def recommender_of(name: str, side: ModelArrays, data: TrainingData, *, n: int) -> Recommender:
    """Return a fitted model as the recommender of its release would be, to measure the lists of n items that users would get; its item_ids are
    the item_nums, and nothing predicts ratings or confidence beside it.

    Parameters
    ----------
    name : a model that can be served
    side : what was fitted
    data : what it was fitted to; in its `sides` lie the factor models that a blend has parts of
    """
    parts = {part: model_files.load(data.sides / part) for part in FACTORS if model_files.exists(data.sides / part)}
    genres, liked = data.genres.tocsr(), popular.fit(data)
    of_items = {"item_ids": np.arange(data.n_items), "genre_indices": genres.indices, "genre_indptr": genres.indptr}
    names = {"genres": range(genres.shape[1]), "repeats": data.settings.repeats}
    of_release = {"items": (of_items, names), "popular": (liked.arrays, liked.parameters)}
    whole = assemble(parts | of_release | {name: (side.arrays, side.parameters)}, served=name)
    lists_alone = replace(whole, factors=None, rater=None)
    return Recommender(
        of_items["item_ids"], lists_alone, data.rating_scale, n=n, explain_n=0, reasons_n=0, min_history=data.settings.min_history
    )
